#!/usr/bin/env bash
# Where the time of one run goes: one queue, adaptive limits. Needs servers (launch_sglang_servers.sh) and a
# calibration array. Flags of ref_async may follow: bash scripts/profile_async.sh --max_problems 4 --repeats 4
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/profile.sh"
profile async "$@"
