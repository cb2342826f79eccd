#!/usr/bin/env bash
# Everything on a bare machine with Python and bash, no GPU: install, start both servers with the demo
# pair, calibrate, run ATTS (marginal, conditional), draft alone and target alone on the same held-out
# problems, print the comparison. Results: results/quickstart (delete it to run anew).
#   PROBLEMS=60 REPEATS=4 CALIBRATION=480  how much to run    CHUNK=24  tokens a chunk    SEED=0  draws the problems
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=cpu bash scripts/setup.sh
export CONFIG=configs/demo.sh
source scripts/common.sh
: "${PROBLEMS:=60}" "${REPEATS:=4}" "${CALIBRATION:=480}" "${CHUNK:=24}" "${SEED:=0}" "${OUT:=results/quickstart}"

read -r SMALL_MODEL_PORT EVAL_MODEL_PORT < <("$PYTHON" -m ATTS.servers ports)
export SMALL_MODEL_PORT EVAL_MODEL_PORT SERVER_DIR="$OUT/servers"
trap 'bash scripts/stop_sglang_servers.sh' EXIT
trap 'exit 130' INT TERM
bash scripts/launch_sglang_servers.sh

data=(--dataset_name demo --seed "$SEED" --max_problems "$PROBLEMS")
pair=(
    "${data[@]}" --small_model_name demo-draft --eval_model_name demo-target
    --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT"
    --small_model_max_tokens "$CHUNK" --use_chat_template
)
loop=(--repeats "$REPEATS" --turns 20 --evalator_max_tokens "$CHUNK" --small_model_concurrency 16 --eval_model_concurrency 16)
alone=("${data[@]}" --repeats "$REPEATS" --turns 1 --small_model_max_tokens 300 --small_model_concurrency 16) # in one go
say() { printf '\n== %s\n' "$*" >&2; }

say "calibrate on $CALIBRATION other problems, a chunk each (marginal), and on the first chunks of every problem (conditional)"
"$PYTHON" -m ATTS.ref_conformal "${pair[@]}" --max_problems "$CALIBRATION" --sample_size 1 --ppl_array_path "$OUT/calibration.npy"
"$PYTHON" -m ATTS.ref_conformal_per_question "${pair[@]}" --sample_size 16 --ppl_array_path "$OUT/calibration_per_question.npy"
say "the draft alone and the target alone"
"$PYTHON" -m ATTS.baseline "${alone[@]}" --small_model_name demo-draft --sglang_port "$SMALL_MODEL_PORT" --output_dir "$OUT/draft"
"$PYTHON" -m ATTS.baseline "${alone[@]}" --small_model_name demo-target --sglang_port "$EVAL_MODEL_PORT" --output_dir "$OUT/target"
say "ATTS, marginal and conditional"
"$PYTHON" -m ATTS.ref_async "${pair[@]}" "${loop[@]}" --ppl_array_path "$OUT/calibration.npy" --output_dir "$OUT/atts_marginal"
"$PYTHON" -m ATTS.ref_async_per_question "${pair[@]}" "${loop[@]}" --ppl_array_path "$OUT/calibration_per_question.npy" --output_dir "$OUT/atts_conditional"

say "the comparison (also in $OUT/comparison.md)"
"$PYTHON" -m ATTS.compare "$OUT/draft" "$OUT/target" "$OUT/atts_marginal" "$OUT/atts_conditional" --json >"$OUT/comparison.json"
"$PYTHON" -m ATTS.compare "$OUT/draft" "$OUT/target" "$OUT/atts_marginal" "$OUT/atts_conditional" | tee "$OUT/comparison.md"
