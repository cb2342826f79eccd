#!/usr/bin/env bash
# Train the demo pair again from a seed into OUT (default: results/demo_models); made for two cores.
#   SEED=0    OUT=ATTS/demo/models replaces the pair that ships with the package
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEVICE=${DEVICE:-cpu} bash scripts/setup.sh
source scripts/common.sh
exec "$PYTHON" scripts/demo_pair/train.py --seed "${SEED:-0}" --out "${OUT:-results/demo_models}"
