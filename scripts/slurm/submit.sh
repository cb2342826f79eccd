#!/usr/bin/env bash
# A run on a Slurm cluster: an array of jobs, each with a pair's servers and a shard of the questions, and a job that joins
# the shards when all are done. Run it in the project's folder, on a disk that all nodes share.
#
#   SHARDS=8 OUT=results/math500 CONFIG=configs/70b.sh SBATCH_GPUS=5 SBATCH_TIMELIMIT=8:00:00 bash scripts/slurm/submit.sh \
#       ref_async --small_model_name ... --eval_model_name ... --dataset_name math500 --use_chat_template
#
#   SHARDS      jobs; 1: one job and nothing to join
#   OUT         the run's folder; required
#   CALIBRATE   a command that comes first, in a job of its own: "ref_conformal --small_model_name ..."
#   SBATCH_...  what sbatch reads: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_GPUS, SBATCH_TIMELIMIT ...
#   the others  as for scripts/launch_sglang_servers.sh; EMULATE=1: servers without models, to try all this
# Prints the numbers of the jobs. The same command again does what is missing; it waits for nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

: "${SHARDS:=1}"
: "${OUT:?the folder of the run}"
: "${CALIBRATE:=}"
(($# > 0)) || { echo "error: which command? such as ref_async --small_model_name ..." >&2; exit 2; }
command -v sbatch >/dev/null || { echo "error: there is no sbatch here: run this on a machine of the cluster" >&2; exit 2; }

logs=$OUT.slurm
mkdir -p "$logs"
submit() { # name, then what sbatch is given
    local name=$1
    shift
    sbatch --parsable --job-name "atts-$name" --output "$logs/$name-%A-%a.log" "$@"
}

after=()
if [[ -n $CALIBRATE ]]; then
    number=$(submit calibrate --array 1-1 scripts/slurm/job.sh $CALIBRATE)
    echo "calibration: job $number"
    after=(--dependency "afterok:$number" --kill-on-invalid-dep yes)
fi
number=$(submit shard --array "1-$SHARDS" "${after[@]}" scripts/slurm/job.sh "$@" --output_dir "$OUT")
echo "run: job $number, an array of $SHARDS"
if ((SHARDS > 1)); then
    merge=$(submit merge --array 1-1 --gpus 0 --dependency "afterok:$number" scripts/slurm/merge.sh "$OUT")
    echo "merge: job $merge"
fi
echo "logs: $logs"
