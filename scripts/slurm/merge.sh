#!/usr/bin/env bash
#SBATCH --requeue
#SBATCH --open-mode=append
# Joins the shards of a run, when all have ended well. scripts/slurm/submit.sh submits it.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source scripts/common.sh
exec "$PYTHON" -m ATTS.merge "$1"
