#!/usr/bin/env bash
# Run ATTS and every baseline on the same servers, questions, sampling, limits and grader, and print one
# table: OUT/comparison.md, .json and .png. Rerun the same command to resume. The demo pair on CPU:
#   bash scripts/compare_methods.sh
# A pair on GPUs:
#   CONFIG=configs/compare_gpu.sh bash scripts/compare_methods.sh
# One more row, the target with native speculative decoding (needs a GPU), into the same OUT afterwards:
#   CONFIG=configs/speculative_decoding.sh bash scripts/compare_methods.sh
#
#   METHODS=target,draft,...  which    PROBLEMS, REPEATS, BLOCKS  how much    TOKEN_BUDGET  most tokens a sample
#   CHUNK, TEMPERATURE, SEED, SMALL_MODEL_CONCURRENCY, EVAL_MODEL_CONCURRENCY, REJECTION_RATE, SCORE_THRESHOLD,
#   SCORE_METHOD, SAMPLE_SIZE, CALIBRATION_PROBLEMS, SPE_CONFIG, DATASET, OUT    see python -m ATTS.compare_methods --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/compare_demo.sh}
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh
: "${METHODS:=target,draft,atts,per_turn,atts_resample,random,sync_fix_budget,async_fix_budget,spec_reason,spec_reason_3,speculative_thinking}"
: "${DATASET:=math500}" "${PROBLEMS:=100}" "${REPEATS:=16}" "${BLOCKS:=5}" "${TOKEN_BUDGET:=8192}" "${CHUNK:=500}"
: "${TEMPERATURE:=0.8}" "${SEED:=0}" "${REJECTION_RATE:=0.4}" "${SCORE_THRESHOLD:=7}" "${SCORE_METHOD:=greedy}"
: "${SMALL_MODEL_CONCURRENCY:=16}" "${EVAL_MODEL_CONCURRENCY:=16}" "${SAMPLE_SIZE:=8}" "${CALIBRATION_PROBLEMS:=100}"
: "${SPE_CONFIG:=configs/speculative_thinking/1b_14b.yml}" "${OUT:=results/methods}"

start_own_servers "$OUT/servers"
"$PYTHON" -m ATTS.compare_methods --output_dir "$OUT" --methods "$METHODS" \
    --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" \
    --small_model_url "http://$SGLANG_HOST:$SMALL_MODEL_PORT" --eval_model_url "http://$SGLANG_HOST:$EVAL_MODEL_PORT" \
    --dataset_name "$DATASET" --max_problems "$PROBLEMS" --repeats "$REPEATS" --blocks "$BLOCKS" --seed "$SEED" \
    --temperature "$TEMPERATURE" --token_budget "$TOKEN_BUDGET" \
    --small_model_max_tokens "$CHUNK" --evalator_max_tokens "$CHUNK" \
    --rejection_rate "$REJECTION_RATE" --sample_size "$SAMPLE_SIZE" --calibration_problems "$CALIBRATION_PROBLEMS" \
    --score_threshold "$SCORE_THRESHOLD" --score_method "$SCORE_METHOD" --spe_config "$SPE_CONFIG" \
    --small_model_concurrency "$SMALL_MODEL_CONCURRENCY" --eval_model_concurrency "$EVAL_MODEL_CONCURRENCY"
