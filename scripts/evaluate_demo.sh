#!/usr/bin/env bash
# Measure the demo pair on 500 fresh problems by chunk length, with random take-over beside it.
#   PROBLEMS=500  SEED=1  CHUNKS="16 24 32"  OUT=results/evaluate_demo
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh
: "${PROBLEMS:=500}" "${SEED:=1}" "${CHUNKS:=16 24 32}" "${OUT:=results/evaluate_demo}"

start_own_servers "$OUT/servers"
"$PYTHON" scripts/demo_pair/measure.py --folder "$OUT" --problems "$PROBLEMS" --seed "$SEED" --chunks $CHUNKS \
    --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT"
