#!/usr/bin/env bash
# Run the target, the draft, and ATTS at rates and settings on the same servers and questions, and show accuracy against
# the target's work: OUT/frontier.md, .json and .png. Interrupted, the same command resumes. The demo pair on CPU:
#   bash scripts/frontier.sh
# A pair on GPUs:
#   CONFIG=configs/compare_gpu.sh OUT=results/frontier bash scripts/frontier.sh
# Then choose a setting with a guarantee: python -m ATTS.certify OUT
#
#   RATES, ON_REJECTIONS, DRAFT_ATTEMPTS, SCORES, CALIBRATIONS  lists separated by spaces    MARGIN  of non-inferiority
#   PROBLEMS, REPEATS, BLOCKS  how much    TOKEN_BUDGET  most tokens of a sample's text
#   CHUNK, TEMPERATURE, SEED, SMALL_MODEL_CONCURRENCY, EVAL_MODEL_CONCURRENCY, SAMPLE_SIZE, CALIBRATION_PROBLEMS,
#   CALIBRATION_SPLIT, DATASET, OUT    see python -m ATTS.frontier --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/frontier_demo.sh}
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh
: "${RATES:=0.1 0.2 0.4 0.6}" "${ON_REJECTIONS:=continue resample}" "${DRAFT_ATTEMPTS:=1}"
: "${SCORES:=mean}" "${CALIBRATIONS:=per_turn}"
: "${MARGIN:=0.02}" "${DATASET:=math500}" "${PROBLEMS:=100}" "${REPEATS:=16}" "${BLOCKS:=5}" "${TOKEN_BUDGET:=8192}"
: "${CHUNK:=500}" "${TEMPERATURE:=0.8}" "${SEED:=0}" "${CALIBRATION_SPLIT:=0}"
: "${SMALL_MODEL_CONCURRENCY:=16}" "${EVAL_MODEL_CONCURRENCY:=16}" "${SAMPLE_SIZE:=8}" "${CALIBRATION_PROBLEMS:=100}"
: "${OUT:=results/frontier}"

start_own_servers "$OUT/servers"
# shellcheck disable=SC2086 # lists
"$PYTHON" -m ATTS.frontier --output_dir "$OUT" \
    --rates $RATES --on_rejections $ON_REJECTIONS --draft_attempts $DRAFT_ATTEMPTS --scores $SCORES \
    --calibrations $CALIBRATIONS --margin "$MARGIN" \
    --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" \
    --small_model_url "http://$SGLANG_HOST:$SMALL_MODEL_PORT" --eval_model_url "http://$SGLANG_HOST:$EVAL_MODEL_PORT" \
    --dataset_name "$DATASET" --max_problems "$PROBLEMS" --repeats "$REPEATS" --blocks "$BLOCKS" --seed "$SEED" \
    --calibration_split "$CALIBRATION_SPLIT" --temperature "$TEMPERATURE" --token_budget "$TOKEN_BUDGET" \
    --small_model_max_tokens "$CHUNK" --evalator_max_tokens "$CHUNK" \
    --sample_size "$SAMPLE_SIZE" --calibration_problems "$CALIBRATION_PROBLEMS" \
    --small_model_concurrency "$SMALL_MODEL_CONCURRENCY" --eval_model_concurrency "$EVAL_MODEL_CONCURRENCY"
