#!/usr/bin/env bash
# Install what the tests need and run all of them: bash scripts/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TEST=1 DEVICE=cpu bash scripts/setup.sh
# Two processes: most tests of the real servers wait for them, and leave a core to the others.
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses 2 --dist loadgroup "$@"
