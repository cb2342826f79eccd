#!/usr/bin/env bash
# Samples that stop when their question is decided, and what the models' confidence is worth: the demo pair on real
# servers, the draft alone and ATTS, each with all samples and with --stop beta (docs/STOPPING.md). Resumes what is there.
#   PROBLEMS=30  REPEATS=16  CALIBRATION=240  SEED=0    OUT=results/stopping_demo
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=${CONFIG:-configs/demo.sh}
: "${PROBLEMS:=30}" "${REPEATS:=16}" "${CALIBRATION:=240}" "${SEED:=0}" "${OUT:=results/stopping_demo}"
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh

start_own_servers "$OUT/servers"
data=(--dataset_name demo --seed "$SEED" --small_model_max_tokens "$SMALL_MODEL_MAX_TOKENS" --small_model_name "$SMALL_MODEL")
pair=("${data[@]}" --eval_model_name "$EVAL_MODEL" --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT")
pair+=(--use_chat_template --ppl_array_path "$OUT/first_chunks.npy")
run=(--max_problems "$PROBLEMS" --repeats "$REPEATS" --turns 20 --small_model_concurrency 16)
atts=("${pair[@]}" "${run[@]}" --evalator_max_tokens "$EVAL_MODEL_MAX_TOKENS" --eval_model_concurrency 16)
draft=("${data[@]}" "${run[@]}" --sglang_port "$SMALL_MODEL_PORT")

[[ -f $OUT/first_chunks.npy ]] ||
    "$PYTHON" -m ATTS.ref_conformal "${pair[@]}" --max_problems "$CALIBRATION" --sample_size 1
"$PYTHON" -m ATTS.baseline "${draft[@]}" --output_dir "$OUT/draft_beta" --stop beta
"$PYTHON" -m ATTS.ref_async "${atts[@]}" --output_dir "$OUT/atts_beta" --stop beta
"$PYTHON" -m ATTS.baseline "${draft[@]}" --output_dir "$OUT/draft" --confidence draft
"$PYTHON" -m ATTS.ref_async "${atts[@]}" --output_dir "$OUT/atts" --confidence both
votes=(--votes "majority,weighted,best_of_n")
for run in draft atts; do
    for by in $([[ $run == atts ]] && echo draft target ppl || echo draft); do
        echo "$run, confidence of $by"
        "$PYTHON" -m ATTS.compute_accuracy --output_dir "$OUT/$run" "${votes[@]}" --vote_confidence "$by" | tail -6
    done
done
