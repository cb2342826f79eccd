#!/usr/bin/env bash
# How answers of recorded runs are read and compared, how fast, and what hostile ones do (docs/GRADING.md).
#   DATA=../shared/data   folder with traces/ and hub/      HOSTILE=10000   hostile checks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
source scripts/common.sh
"$PYTHON" scripts/figures/grading.py --data "${DATA:=../shared/data}" --hostile "${HOSTILE:=10000}"
