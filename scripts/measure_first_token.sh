#!/usr/bin/env bash
# Score the demo draft's chunks with and without their first token, on real servers (docs/FIDELITY.md).
#   PROBLEMS=200  CHUNK=24
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh

read -r SMALL_MODEL_PORT EVAL_MODEL_PORT < <("$PYTHON" -m ATTS.servers ports)
export SMALL_MODEL_PORT EVAL_MODEL_PORT SERVER_DIR=results/first_token
trap 'bash scripts/stop_sglang_servers.sh' EXIT
trap 'exit 130' INT TERM
bash scripts/launch_sglang_servers.sh
"$PYTHON" scripts/figures/first_token.py --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" \
    --problems "${PROBLEMS:-200}" --chunk "${CHUNK:-24}"
