#!/usr/bin/env bash
# Whether the server answers the demo's problems as well as ref_async, on real servers, and what it costs beside it
# (docs/SERVE.md).
#   PROBLEMS=60  REPEATS=4
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh

start_own_servers results/serve
"$PYTHON" scripts/figures/serve_accuracy.py --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" \
    --problems "${PROBLEMS:-60}" --repeats "${REPEATS:-4}"
"$PYTHON" scripts/figures/serve_overhead.py
