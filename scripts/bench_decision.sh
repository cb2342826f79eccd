#!/usr/bin/env bash
# Time one decision, insertion included, by the number of calibration scores (docs/GUARANTEES.md).
#   SIZES="16 1600 100000"   OUT=results/bench_decision.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
source scripts/common.sh
exec "$PYTHON" scripts/figures/decision.py --sizes ${SIZES:-16 1600 100000} --out "${OUT:-results/bench_decision.json}"
