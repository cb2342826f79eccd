#!/usr/bin/env bash
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
# One job: starts a pair's servers, runs a command of ATTS on them and stops them. A task of an array runs a shard.
# scripts/slurm/submit.sh submits it. A job that is cancelled, out of time or requeued ends its run cleanly first: what is
# finished is kept, and chains under way go on when the job runs again.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source scripts/common.sh

command=$1
shift
tasks=${SLURM_ARRAY_TASK_COUNT:-1}
if ((tasks > 1)); then set -- "$@" --shard "$SLURM_ARRAY_TASK_ID/$tasks"; fi
export SERVER_DIR=${TMPDIR:-/tmp}/atts-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
mkdir -p "$SERVER_DIR"
servers=
run=

stop() {
    local status=$?
    if [[ -n $servers ]]; then
        kill "$servers" 2>/dev/null || true
        wait "$servers" 2>/dev/null || true
    else
        bash scripts/stop_sglang_servers.sh
    fi
    if ((status == 0 || status == 143)); then
        rm -r "$SERVER_DIR"
    else
        echo "logs of the servers: $(hostname):$SERVER_DIR" >&2
    fi
}
interrupted() {
    if [[ -n $run ]]; then
        kill -TERM "$run" 2>/dev/null || true
        wait "$run" || true
    fi
    exit 143
}
trap stop EXIT
trap interrupted TERM INT

own_gpus() { # by their place among the job's: 1,2 is 5,6 where Slurm gave the job 4,5,6
    local text=$1 out= own
    IFS=, read -ra own <<<"$CUDA_VISIBLE_DEVICES"
    while [[ $text =~ ^([^0-9]*)([0-9]+)(.*)$ ]]; do
        if ((BASH_REMATCH[2] >= ${#own[@]})); then
            echo "error: the servers need GPU ${BASH_REMATCH[2]}, the job has ${#own[@]}: set SBATCH_GPUS" >&2
            return 1
        fi
        out+=${BASH_REMATCH[1]}${own[BASH_REMATCH[2]]} text=${BASH_REMATCH[3]}
    done
    echo "$out$text"
}
if [[ $DEVICE == cuda && -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    SMALL_MODEL_DEVICE=$(own_gpus "$SMALL_MODEL_DEVICE")
    EVAL_MODEL_DEVICES=$(own_gpus "$EVAL_MODEL_DEVICES")
    export SMALL_MODEL_DEVICE EVAL_MODEL_DEVICES
fi

read -r SMALL_MODEL_PORT EVAL_MODEL_PORT < <("$PYTHON" -m ATTS.servers ports)
export SMALL_MODEL EVAL_MODEL SMALL_MODEL_PORT EVAL_MODEL_PORT
if [[ -n ${EMULATE:-} ]]; then
    "$PYTHON" -m ATTS.emulate --small_model_name "$SMALL_MODEL" --eval_model_name "$EVAL_MODEL" --small_model_port \
        "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" $EMULATE >"$SERVER_DIR/emulated.log" 2>&1 &
    servers=$!
    until grep -qs '^target: ' "$SERVER_DIR/emulated.log"; do
        kill -0 "$servers" || { cat "$SERVER_DIR/emulated.log" >&2; exit 1; }
        sleep 0.1
    done
else
    bash scripts/launch_sglang_servers.sh & # in the background, since a signal is heeded between commands only
    run=$!
    wait "$run"
fi

echo "$(hostname): $command $*, servers at ports $SMALL_MODEL_PORT and $EVAL_MODEL_PORT"
"$PYTHON" -m "ATTS.$command" "$@" --small_model_port "$SMALL_MODEL_PORT" --eval_model_port "$EVAL_MODEL_PORT" &
run=$!
wait "$run"
