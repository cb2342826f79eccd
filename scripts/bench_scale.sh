#!/usr/bin/env bash
# 100,000 samples against a server that answers at once: memory, open files, lag (docs/PERFORMANCE.md).
#   SAMPLES=100000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh
"$PYTHON" scripts/figures/scale.py --samples "${SAMPLES:-100000}"
