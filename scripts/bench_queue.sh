#!/usr/bin/env bash
# One queue against one question at a time on recorded runs, simulated (docs/PERFORMANCE.md).
#   DATA   folder with traces/; required      RECORDINGS="ct1 nonct"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${DATA:?recorded runs are no part of this project: set it to a folder with traces/}"
source scripts/common.sh
"$PYTHON" scripts/figures/one_queue.py --data "$DATA" --recordings ${RECORDINGS:-ct1 nonct}
