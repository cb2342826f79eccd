#!/usr/bin/env bash
# The rejection rate at every turn, marginal beside per-turn calibration, with the demo pair on real servers
# (docs/GUARANTEES.md). One sample a problem: repeats would tell little more than one does.
#   PROBLEMS=2500  evaluated     CALIBRATION=4000  calibrated on     CALIBRATED_TURNS=6     CHUNK=24     SEED=0
#   OUT=results/rate_live (delete it to run anew)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh
: "${PROBLEMS:=2500}" "${CALIBRATION:=4000}" "${CALIBRATED_TURNS:=6}" "${CHUNK:=24}" "${SEED:=0}" "${OUT:=results/rate_live}"

start_own_servers "$OUT/servers"

pair=(
    --dataset_name demo --seed "$SEED" --small_model_name demo-draft --eval_model_name demo-target
    --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT"
    --small_model_max_tokens "$CHUNK" --evalator_max_tokens "$CHUNK" --use_chat_template
)
calibrate=("${pair[@]}" --max_problems "$CALIBRATION" --sample_size 1)
loop=("${pair[@]}" --max_problems "$PROBLEMS" --repeats 1 --turns 20 --small_model_concurrency 16 --eval_model_concurrency 16)

"$PYTHON" -m ATTS.ref_conformal "${calibrate[@]}" --ppl_array_path "$OUT/first_chunks.npy"
"$PYTHON" -m ATTS.ref_conformal "${calibrate[@]}" --turns "$CALIBRATED_TURNS" --ppl_array_path "$OUT/by_turn.npy"
"$PYTHON" -m ATTS.ref_async "${loop[@]}" --ppl_array_path "$OUT/first_chunks.npy" --output_dir "$OUT/marginal"
"$PYTHON" -m ATTS.ref_async "${loop[@]}" --ppl_array_path "$OUT/by_turn.npy" --output_dir "$OUT/per_turn" --calibration per_turn
"$PYTHON" scripts/figures/rate_live.py --marginal "$OUT/marginal" --per_turn "$OUT/per_turn" \
    --array "$OUT/by_turn.npy" --out "$OUT/rate_live.json"
