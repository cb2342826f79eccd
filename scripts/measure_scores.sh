#!/usr/bin/env bash
# How well each score tells wrong text from right text: the demo pair on real servers (docs/SCORES.md).
#   PROBLEMS=300  REPEATS=2  CHUNK=24  OUT=results/scores_demo
# Other pairs: start both servers, then python scripts/figures/scores.py --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/demo.sh}
: "${PROBLEMS:=300}" "${REPEATS:=2}" "${CHUNK:=24}" "${OUT:=results/scores_demo}"
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh

start_own_servers "$OUT/servers"
"$PYTHON" scripts/figures/scores.py --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" \
    --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" --dataset_name demo \
    --max_problems "$PROBLEMS" --repeats "$REPEATS" --small_model_max_tokens "$CHUNK" --turns 20 --out "$OUT"
