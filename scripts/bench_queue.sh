#!/usr/bin/env bash
# One queue against one question at a time on recorded runs, simulated (docs/PERFORMANCE.md).
#   DATA=../shared/data   folder with traces/      RECORDINGS="ct1 nonct"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh
"$PYTHON" scripts/figures/one_queue.py --data "${DATA:-../shared/data}" --recordings ${RECORDINGS:-ct1 nonct}
