#!/usr/bin/env bash
# What a request costs on this side, against a server that answers at once (docs/PERFORMANCE.md).
#   REQUESTS=20000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/common.sh
"$PYTHON" scripts/figures/client.py --requests "${REQUESTS:-20000}"
