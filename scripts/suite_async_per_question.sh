#!/usr/bin/env bash
# Run every pair with one calibration set a question; suite_conformal_per_question.sh comes first.
# Variables: scripts/common.sh and scripts/suite.sh; CONFIG=configs/demo.sh for the demo pair.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/suite.sh"

run_suite async per_question
