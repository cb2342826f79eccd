#!/usr/bin/env bash
# Replay recorded runs of the published system through ref_async --compat published, against emulated
# servers that say what was recorded, and compare every percentile, decision, text and answer.
#   DATA   folder with traces/ and calibration/; required            REPLAYS="..."  rows to replay
#   OUT=results/replay    MAX_PROBLEMS=0 (questions; 0: all)
# A row: NAME RECORDING ARRAY CT (1: scored with the chat template)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${DATA:?recorded runs are no part of this project: set it to a folder with traces/ and calibration/}"
bash scripts/setup.sh
source scripts/common.sh
: "${OUT:=results/replay}" "${MAX_PROBLEMS:=0}"
stem=ppls_math500_qwq_32B_rllama_8B_s16_t500_temp0.8
: "${REPLAYS:=ct1 $DATA/traces/traces_math500_ct1.jsonl.gz $DATA/calibration/${stem}_ct1__397d5a21.npy 1
nonct $DATA/traces/traces_math500_nonct.jsonl.gz $DATA/calibration/${stem}__ec846181.npy 0}"

servers=""
trap '[[ -z $servers ]] || kill $servers 2>/dev/null' EXIT
trap 'exit 130' INT TERM
failed=0
while read -r name recording array template; do
    [[ -n $name && $name != \#* ]] || continue
    read -r draft target < <("$PYTHON" -m ATTS.servers ports)
    rm -rf "${OUT:?}/$name"
    mkdir -p "$OUT/$name"
    "$PYTHON" scripts/figures/replay.py questions --recording "$recording" --max_problems "$MAX_PROBLEMS" \
        --out "$OUT/$name/questions.jsonl"
    "$PYTHON" -m ATTS.emulate --recording "$recording" --small_model_port "$draft" --eval_model_port "$target" &
    servers=$!
    for _ in $(seq 240); do
        (exec 3<>"/dev/tcp/127.0.0.1/$target") 2>/dev/null && break
        sleep 0.25
    done
    flags=()
    [[ $template == 0 ]] || flags=(--use_chat_template)
    "$PYTHON" -m ATTS.ref_async --compat published --small_model_name draft --eval_model_name target \
        --small_model_port "$draft" --eval_model_port "$target" --dataset_name "$OUT/$name/questions.jsonl" \
        --ppl_array_path "$array" --output_dir "$OUT/$name/run" "${flags[@]}" || failed=1
    "$PYTHON" scripts/figures/replay.py compare --recording "$recording" --max_problems "$MAX_PROBLEMS" \
        --output_dir "$OUT/$name/run" || failed=1
    kill "$servers" && wait "$servers" || true
    servers=""
done <<<"$REPLAYS"
exit "$failed"
