#!/usr/bin/env bash
# Whether a certificate keeps its promise on other questions: the demo pair on real servers, the target alone and the
# certified setting on problems of another seed, compared question by question. First bash scripts/frontier.sh, then
# python -m ATTS.certify results/frontier_demo
#   CERTIFICATE=certificate.json    PROBLEMS=1000  REPEATS=1  SEED=1    OUT=results/certified_demo
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/frontier_demo.sh}
: "${SMALL_MODEL_CONCURRENCY:=16}" "${EVAL_MODEL_CONCURRENCY:=16}"
: "${CERTIFICATE:=certificate.json}" "${PROBLEMS:=1000}" "${REPEATS:=1}" "${SEED:=1}" "${OUT:=results/certified_demo}"
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh

start_own_servers "$OUT/servers"
questions=(--dataset_name "$DATASET" --seed "$SEED" --max_problems "$PROBLEMS" --repeats "$REPEATS")
"$PYTHON" -m ATTS.baseline --small_model_name "$EVAL_MODEL" --sglang_port "$EVAL_MODEL_PORT" "${questions[@]}" \
    --small_model_max_tokens "$TOKEN_BUDGET" --token_budget "$TOKEN_BUDGET" --turns 1 \
    --small_model_concurrency "$EVAL_MODEL_CONCURRENCY" --output_dir "$OUT/target"
"$PYTHON" -m ATTS.ref_async --certificate "$CERTIFICATE" --small_model_name "$SMALL_MODEL" \
    --eval_model_name "$EVAL_MODEL" --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" \
    "${questions[@]}" --small_model_concurrency "$SMALL_MODEL_CONCURRENCY" \
    --eval_model_concurrency "$EVAL_MODEL_CONCURRENCY" --output_dir "$OUT/certified"
"$PYTHON" -m ATTS.frontier_report "$OUT"
