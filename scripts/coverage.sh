#!/usr/bin/env bash
# Which lines of ATTS/ the tests run, those of every process they start: bash scripts/coverage.sh [pytest arguments]
#   prints a table by file, the lines that no test runs last; htmlcov/ is not written.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TEST=1 DEVICE=cpu bash scripts/setup.sh
python="${VENV:-.venv}/bin/python"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export COVERAGE_FILE="$folder/coverage"
failed=0
"$python" -m coverage run -m pytest --numprocesses 2 --dist loadgroup --timeout 900 "$@" || failed=$?
"$python" -m coverage combine --quiet
"$python" -m coverage report
exit "$failed"
