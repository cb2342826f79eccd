#!/usr/bin/env bash
# Ten minutes on one machine that tell whether the GPU path works and how fast it is: calibration, ATTS both ways, the target
# alone, the engine's own speculation; tokens a second, cached shares, log-probabilities, decisions in batches of several sizes.
#   bash scripts/gpu_check.sh                                     # 1.5B + 7B with random weights, both on GPU 0
#   WEIGHTS=auto CONFIG=configs/gpu_1x80.sh bash scripts/gpu_check.sh    # real ones, which are downloaded
#   CONFIG=configs/demo.sh bash scripts/gpu_check.sh              # the demo pair on CPU, to see that it runs
# Into OUT: gpu_check.md (the table), gpu_check.json, agreement.json, a folder a run. Delete OUT to measure anew.
#   QUESTIONS=16 REPEATS=4 TURNS=6 CONCURRENCY=16  how much    DATASET=demo    CHUNK=256, or what CONFIG says of the draft
#   SIMULATED_DRAFT=1.5B:L4 SIMULATED_TARGET=7B:L4  devices of the prediction (python -m ATTS.simulate --help)
#   REFERENCE=cpu|cuda|none  where transformers computes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/gpu_1x24.sh}
source scripts/common.sh
: "${QUESTIONS:=16}" "${REPEATS:=4}" "${TURNS:=6}" "${CHUNK:=${SMALL_MODEL_MAX_TOKENS:-256}}" "${CONCURRENCY:=16}" "${DATASET:=demo}"
: "${OUT:=results/gpu_check}" "${REFERENCE:=cpu}" "${SIMULATED_DRAFT:=}" "${SIMULATED_TARGET:=}"
: "${WEIGHTS:=$([[ $DEVICE == cuda ]] && echo dummy || echo auto)}"
if [[ $DEVICE == cuda ]]; then bash third_party/sglang_gpu/check.sh "$PYTHON" >&2; fi

export SMALL_MODEL_ARGS="$SMALL_MODEL_ARGS --load-format $WEIGHTS" EVAL_MODEL_ARGS="$EVAL_MODEL_ARGS --load-format $WEIGHTS"
start_own_servers "$OUT/servers"
draft="http://$SGLANG_HOST:$SMALL_MODEL_PORT" target="http://$SGLANG_HOST:$EVAL_MODEL_PORT"
data=(--dataset_name "$DATASET" --max_problems "$QUESTIONS")
pair=(
    "${data[@]}" --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" --small_model_url "$draft"
    --eval_model_url "$target" --small_model_max_tokens "$CHUNK" --use_chat_template
)
loop=(
    --repeats "$REPEATS" --turns "$TURNS" --evalator_max_tokens "$CHUNK"
    --small_model_concurrency "$CONCURRENCY" --eval_model_concurrency "$CONCURRENCY"
)
alone=(
    "${data[@]}" --small_model_name "$EVAL_MODEL" --small_model_url "$target" --repeats "$REPEATS" --turns 1
    --small_model_max_tokens $((TURNS * CHUNK)) --small_model_concurrency "$CONCURRENCY" # in one go
)
say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS" >&2; }

for kind in atts atts_resample; do
    way=(--ppl_array_path "$OUT/$kind.npy")
    if [[ $kind == atts_resample ]]; then way+=(--on_rejection resample); fi
    say "calibration and run: $kind"
    "$PYTHON" -m ATTS.ref_conformal "${pair[@]}" "${way[@]}" --sample_size 2
    "$PYTHON" -m ATTS.ref_async "${pair[@]}" "${loop[@]}" "${way[@]}" --output_dir "$OUT/$kind"
done
say "the target alone"
"$PYTHON" -m ATTS.baseline "${alone[@]}" --output_dir "$OUT/target"
say "log-probabilities and decisions"
"$PYTHON" scripts/figures/gpu_agreement.py --target "$target" --run "$OUT/atts" --array "$OUT/atts.npy" \
    --json "$OUT/agreement.json" --reference "$REFERENCE"
missing="The engine's own speculation was not run: SGLang needs its CUDA kernels (sgl_kernel) for it."
if [[ $DEVICE == cuda ]]; then
    missing=""
    say "the target alone, with the engine's own speculation"
    bash scripts/stop_sglang_servers.sh
    EVAL_MODEL_ARGS="$EVAL_MODEL_ARGS --speculative-algorithm NGRAM" bash scripts/launch_sglang_servers.sh
    "$PYTHON" -m ATTS.baseline "${alone[@]}" --output_dir "$OUT/speculative"
fi
say "the table (also in $OUT/gpu_check.md)"
predict=()
if [[ -n $SIMULATED_DRAFT && -n $SIMULATED_TARGET ]]; then
    predict=(--simulated_draft "$SIMULATED_DRAFT" --simulated_target "$SIMULATED_TARGET")
fi
"$PYTHON" scripts/figures/gpu_check.py --folder "$OUT" --limits "$CONCURRENCY" "$CONCURRENCY" --missing "$missing" "${predict[@]}"
