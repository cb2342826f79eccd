#!/usr/bin/env bash
# Stop the servers whose PID files are in SERVER_DIR, with all their processes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

exec "$PYTHON" -m ATTS.servers stop --folder "$SERVER_DIR"
