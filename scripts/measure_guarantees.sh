#!/usr/bin/env bash
# Measure what docs/GUARANTEES.md promises: simulated scores, and recorded runs if there are any.
#   DATA  folder with traces/ and calibration/; without it, simulations only           OUT=results/guarantees
#   RUNS=10000  simulated runs     SPLITS=200  half splits by question     SHUFFLES=50  orders of the questions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
source scripts/common.sh
data=()
if [[ -n ${DATA:-} ]]; then
    data=(--data "$DATA")
else
    echo "DATA is not set (a folder with traces/ and calibration/): simulations only" >&2
fi
exec "$PYTHON" scripts/figures/guarantees.py "${data[@]}" --out "${OUT:-results/guarantees}" --runs "${RUNS:-10000}" \
    --splits "${SPLITS:-200}" --shuffles "${SHUFFLES:-50}"
