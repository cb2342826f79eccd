#!/usr/bin/env bash
# Read the answers of a result folder again and grade it; the folder may be a published one.
#   INPUT_DIR=results/...  DATASET=math500   required; DATASET may be a .jsonl file with problem and answer
#   EXTRACT_MODE=regex (llm: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL)   JUDGE=math (llm, both)
#   REPEATS=16   CONCURRENCY=8   DRY_RUN=0 (1: show what would change)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh

: "${INPUT_DIR:?the result folder}" "${DATASET:?the data set with the right answers}"
: "${EXTRACT_MODE:=regex}" "${JUDGE:=math}" "${REPEATS:=16}" "${CONCURRENCY:=8}" "${DRY_RUN:=0}"
flags=()
[[ $DRY_RUN == 0 ]] || flags=(--dry_run)
exec "$PYTHON" -m ATTS.re_extract --input_dir "$INPUT_DIR" --dataset_name "$DATASET" --repeats "$REPEATS" \
    --extract_mode "$EXTRACT_MODE" --judge "$JUDGE" --concurrency "$CONCURRENCY" "${flags[@]}"
