#!/usr/bin/env bash
# A real pair of language models on CPU, on easy MATH-500 questions: target, draft, ATTS as published, a coin of its rate,
# SpecReason, Speculative Thinking, and ATTS with replaced chunks at settings; OUT/frontier.md, .json and .png.
# Interrupted, the same command resumes. Two cores and 16 GB: hours; less with fewer QUESTIONS or METHODS.
#   bash scripts/real_pair.sh                                                      # models and questions from the hub
#   SMALL_MODEL=DIR EVAL_MODEL=DIR ATTS_DATA_DIR=DIR bash scripts/real_pair.sh     # from folders
#
#   QUESTIONS, REPEATS, BLOCKS, CALIBRATION  how much
#   METHODS  target,draft,... see python -m ATTS.compare_methods --help
#   RATES, ON_REJECTIONS, SCORES, CALIBRATIONS  lists separated by spaces: python -m ATTS.frontier --help
#   CHUNK  tokens of a chunk    TOKEN_BUDGET  of a sample    TEMPERATURE, CONCURRENCY, SEED, OUT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/qwen_small.sh}
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then DEVICE=cpu bash scripts/setup.sh; fi
source scripts/common.sh
: "${QUESTIONS:=60}" "${REPEATS:=2}" "${BLOCKS:=2}" "${CALIBRATION:=40}" "${SEED:=0}" "${OUT:=results/real_pair}"
: "${METHODS:=target,draft,atts,random,spec_reason,speculative_thinking}" "${REJECTION_RATE:=0.4}"
: "${RATES:=0.3 0.5}" "${ON_REJECTIONS:=resample}" "${SCORES:=worst_window}" "${CALIBRATIONS:=per_turn}"
: "${CHUNK:=80}" "${TOKEN_BUDGET:=640}" "${TEMPERATURE:=0.8}" "${CONCURRENCY:=32}" "${DATASET:=math500_easy}"
: "${SPE_CONFIG:=configs/speculative_thinking/1b_14b.yml}"

start_own_servers "$OUT/servers"
common=(
    --output_dir "$OUT" --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL"
    --small_model_url "http://$SGLANG_HOST:$SMALL_MODEL_PORT" --eval_model_url "http://$SGLANG_HOST:$EVAL_MODEL_PORT"
    --dataset_name "$DATASET" --calibration_split 0.5 --calibration_problems "$CALIBRATION" --sample_size 1
    --max_problems "$QUESTIONS" --repeats "$REPEATS" --blocks "$BLOCKS" --seed "$SEED" --temperature "$TEMPERATURE"
    --token_budget "$TOKEN_BUDGET" --small_model_max_tokens "$CHUNK" --evalator_max_tokens "$CHUNK"
    --small_model_concurrency "$CONCURRENCY" --eval_model_concurrency "$CONCURRENCY"
    --request_timeout 14400 # alone, a model writes its whole text in one request
)
"$PYTHON" -m ATTS.compare_methods "${common[@]}" --methods "$METHODS" --rejection_rate "$REJECTION_RATE" --spe_config "$SPE_CONFIG"
# shellcheck disable=SC2086 # lists
"$PYTHON" -m ATTS.frontier "${common[@]}" \
    --rates $RATES --on_rejections $ON_REJECTIONS --scores $SCORES --calibrations $CALIBRATIONS
