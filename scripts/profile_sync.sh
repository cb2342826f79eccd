#!/usr/bin/env bash
# The same as profile_async.sh, one question at a time and with the published limits.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$ROOT/scripts/profile.sh"
profile sync --schedule question "$@"
