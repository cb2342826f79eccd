#!/usr/bin/env bash
# Compile once what the servers compile when they start and at the first request of a kind, so that no run waits for it:
#   bash scripts/precompile_kernels.sh                                # the pair and the flags that a run would start
#   CONFIG=configs/gpu_1x24.sh bash scripts/precompile_kernels.sh     # or those of a file
# Both servers are started as they would be, with random weights (--load-format dummy: only small files are downloaded),
# get every kind of request twice, and are stopped. docs/FLASHINFER_WARMUP.md says what is compiled and where it is kept.
#   MAX_JOBS=8  compilers at a time (each takes up to 4 GB)    OUT=results/precompile  for the logs and times.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/common.sh
: "${OUT:=results/precompile}"
if [[ $DEVICE == cuda ]]; then bash third_party/sglang_gpu/check.sh "$PYTHON" >&2; fi

export SMALL_MODEL_ARGS="$SMALL_MODEL_ARGS --load-format dummy" EVAL_MODEL_ARGS="$EVAL_MODEL_ARGS --load-format dummy"
start_own_servers "$OUT/servers"
echo "both servers started after $SECONDS s" >&2
"$PYTHON" scripts/figures/warm_kernels.py --draft "http://$SGLANG_HOST:$SMALL_MODEL_PORT" \
    --target "http://$SGLANG_HOST:$EVAL_MODEL_PORT" | tee "$OUT/times.md"
echo "done after $SECONDS s; a second run shows what is left of them" >&2
