#!/usr/bin/env bash
# How answers of recorded runs are read and compared, how fast, and what hostile ones do (docs/GRADING.md).
#   DATA   folder with traces/ and hub/; required      HOSTILE=10000   hostile checks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${DATA:?recorded runs are no part of this project: set it to a folder with traces/ and hub/}"
bash scripts/setup.sh
source scripts/common.sh
"$PYTHON" scripts/figures/grading.py --data "$DATA" --hostile "${HOSTILE:=10000}"
