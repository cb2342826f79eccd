#!/usr/bin/env bash
# Run every pair with one calibration set a data set; suite_conformal.sh comes first.
# Variables: scripts/common.sh and scripts/suite.sh; CONFIG=configs/demo.sh for the demo pair.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/suite.sh"

run_suite async marginal
