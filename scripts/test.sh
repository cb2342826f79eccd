#!/usr/bin/env bash
# Install what the tests need and run them: bash scripts/test.sh [fast] [large] [pytest arguments]
#   fast: those that start no server    large: with the report of 34,000 samples instead of 3,400, and kills of real servers
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TEST=1 DEVICE=cpu bash scripts/setup.sh
fast=()
if [[ ${1:-} == fast ]]; then
    fast=(-m "not servers")
    shift
fi
if [[ ${1:-} == large ]]; then
    export REPORT_SAMPLES=34000 SERVER_KILLS=1
    shift
fi
# Two processes: most tests of the real servers wait for them, and leave a core to the others.
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses 2 --dist loadgroup "${fast[@]}" "$@"
