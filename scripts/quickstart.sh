#!/usr/bin/env bash
# Everything on a bare machine with Python and bash, no GPU: install, start both servers with the demo
# pair, calibrate, run target alone, draft alone, and ATTS on the same held-out problems (as published; with
# calibration by turn; with rejected chunks replaced), print one table. Results: results/quickstart (delete it to run anew).
#   PROBLEMS=60 REPEATS=4 CALIBRATION=480  how much to run    CHUNK=24  tokens a chunk    SEED=0  draws the problems
#   CALIBRATION_BY_TURN=150  problems that a calibration by turn runs its loop on
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh
: "${PROBLEMS:=60}" "${REPEATS:=4}" "${CALIBRATION:=480}" "${CALIBRATION_BY_TURN:=150}" "${CHUNK:=24}" "${SEED:=0}" "${OUT:=results/quickstart}"

start_own_servers "$OUT/servers"

data=(--dataset_name demo --seed "$SEED" --max_problems "$PROBLEMS")
pair=(
    "${data[@]}" --small_model_name demo-draft --eval_model_name demo-target
    --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT"
    --small_model_max_tokens "$CHUNK" --use_chat_template
)
loop=(--repeats "$REPEATS" --turns 20 --evalator_max_tokens "$CHUNK" --small_model_concurrency 16 --eval_model_concurrency 16)
alone=("${data[@]}" --repeats "$REPEATS" --turns 1 --small_model_max_tokens 300 --small_model_concurrency 16) # in one go
say() { printf '\n== %s\n' "$*" >&2; }

by_turn=("${pair[@]}" --max_problems "$CALIBRATION_BY_TURN" --sample_size 1 --turns 8 --evalator_max_tokens "$CHUNK")
resample=(--on_rejection resample --rejection_rate 0.2)
say "calibrate on other problems: the first chunks of $CALIBRATION, and turn by turn on $CALIBRATION_BY_TURN"
"$PYTHON" -m ATTS.ref_conformal "${pair[@]}" --max_problems "$CALIBRATION" --sample_size 1 --ppl_array_path "$OUT/first_chunks.npy"
"$PYTHON" -m ATTS.ref_conformal "${by_turn[@]}" --ppl_array_path "$OUT/by_turn.npy"
"$PYTHON" -m ATTS.ref_conformal "${by_turn[@]}" "${resample[@]}" --ppl_array_path "$OUT/resample.npy"
say "the target alone and the draft alone"
"$PYTHON" -m ATTS.baseline "${alone[@]}" --small_model_name demo-target --sglang_port "$EVAL_MODEL_PORT" --output_dir "$OUT/target"
"$PYTHON" -m ATTS.baseline "${alone[@]}" --small_model_name demo-draft --sglang_port "$SMALL_MODEL_PORT" --output_dir "$OUT/draft"
say "ATTS: as published, calibrated by turn, and with rejected chunks replaced by the target's"
run=("${pair[@]}" "${loop[@]}")
"$PYTHON" -m ATTS.ref_async "${run[@]}" --ppl_array_path "$OUT/first_chunks.npy" --output_dir "$OUT/atts"
"$PYTHON" -m ATTS.ref_async "${run[@]}" --calibration per_turn --ppl_array_path "$OUT/by_turn.npy" --output_dir "$OUT/atts_per_turn"
"$PYTHON" -m ATTS.ref_async "${run[@]}" --calibration per_turn "${resample[@]}" --ppl_array_path "$OUT/resample.npy" \
    --output_dir "$OUT/atts_resample"

say "the table (also in $OUT/comparison.md)"
runs=("$OUT/target" "$OUT/draft" "$OUT/atts" "$OUT/atts_per_turn" "$OUT/atts_resample")
"$PYTHON" -m ATTS.frontier_report "${runs[@]}" --picture "$OUT/frontier.png" | tee "$OUT/comparison.md"
