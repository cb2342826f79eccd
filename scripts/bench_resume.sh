#!/usr/bin/env bash
# How long a resumed run looks for 10,000 finished samples (docs/PERFORMANCE.md).
#   SAMPLES=10000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh
"$PYTHON" scripts/figures/resume.py --samples "${SAMPLES:-10000}"
