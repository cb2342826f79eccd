#!/usr/bin/env bash
# A search that makes runs, on real servers of the demo pair, and whether its choice was right: see scripts/figures/search_live.py.
# Resumes what is there.
#   CALIBRATION=240  OUT=results/search_demo    further flags are search_live.py's: --problems 40 --repeats 4
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CONFIG=configs/demo.sh
: "${CALIBRATION:=240}" "${OUT:=results/search_demo}"
if [[ ! -x ${PYTHON:-${VENV:-.venv}/bin/python} ]]; then bash scripts/setup.sh; fi
source scripts/common.sh

start_own_servers "$OUT/servers"
draft="http://$SGLANG_HOST:$SMALL_MODEL_PORT" target="http://$SGLANG_HOST:$EVAL_MODEL_PORT"
array=$OUT/first_chunks.npy
[[ -f $array ]] || "$PYTHON" -m ATTS.ref_conformal --dataset_name demo --max_problems "$CALIBRATION" --sample_size 1 \
    --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" --small_model_url "$draft" --eval_model_url "$target" \
    --small_model_max_tokens "$SMALL_MODEL_MAX_TOKENS" --use_chat_template --ppl_array_path "$array"
"$PYTHON" scripts/figures/search_live.py --draft "$draft" --target "$target" --array "$array" --out "$OUT" "$@"
