#!/usr/bin/env bash
# Calibrate every pair: one row of scores a question.
# Variables: scripts/common.sh and scripts/suite.sh; CONFIG=configs/demo.sh for the demo pair.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/suite.sh"

run_suite conformal per_question
