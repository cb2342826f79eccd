#!/usr/bin/env bash
# Score the demo draft's chunks with and without their first token, on real servers (docs/FIDELITY.md).
#   PROBLEMS=200  CHUNK=24
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh

start_own_servers results/first_token
"$PYTHON" scripts/figures/first_token.py --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" \
    --problems "${PROBLEMS:-200}" --chunk "${CHUNK:-24}"
