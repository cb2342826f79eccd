# Sourced by the scripts: variables and their defaults. The environment wins over a CONFIG file,
# and that over the defaults here.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ -n ${CONFIG:-} ]]; then
    [[ -f $CONFIG ]] || { echo "error: CONFIG=$CONFIG does not exist" >&2; exit 2; }
    source "$CONFIG" # its lines have the form : "${NAME:=value}", which leave a set variable alone
fi

: "${VENV:=$ROOT/.venv}"
: "${PYTHON:=$VENV/bin/python}"
if [[ ! -x $PYTHON ]]; then
    echo "error: $PYTHON does not exist; run bash scripts/setup.sh first, or set PYTHON" >&2
    exit 2
fi

: "${DEVICE:=cuda}"                                        # cuda or cpu
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-8B}" # draft
: "${EVAL_MODEL:=Qwen/QwQ-32B}"                            # target
: "${SMALL_MODEL_DEVICE:=0}"                               # GPU of the draft
: "${EVAL_MODEL_DEVICES:=1,2}"                             # GPUs of the target; their number is its tensor parallelism
: "${SMALL_MODEL_REPLICAS:=}"                              # draft servers; with several, groups of devices: "0;1"
: "${EVAL_MODEL_REPLICAS:=}"                               # target servers: "2,3;4,5"; none: one for each group
: "${SMALL_MODEL_GATEWAY_PORT:=}"                          # of a gateway before the draft servers; none: no gateway
: "${EVAL_MODEL_GATEWAY_PORT:=}"                           # and before the target servers
: "${GATEWAY_PYTHON:=$PYTHON}"                             # that has it: third_party/gateway/requirements.txt
: "${NNODES:=1}"                                           # machines that the target is spread over, GPUs of each as above
: "${NODE_RANK:=0}"                                        # this one's number; those above 0 start the target's part only
: "${DIST_INIT_ADDR:=}"                                    # HOST:PORT of machine 0, the same on all
: "${SGLANG_HOST:=127.0.0.1}"
: "${SMALL_MODEL_PORT:=40000}"
: "${EVAL_MODEL_PORT:=40001}"
: "${SMALL_MODEL_MEM_FRACTION:=}"                          # --mem-fraction-static; none: fitted to the machine on a
: "${EVAL_MODEL_MEM_FRACTION:=}"                           # CPU, SGLang's choice on GPUs
: "${SMALL_MODEL_ARGS:=}"                                  # more flags for the draft server
: "${EVAL_MODEL_ARGS:=}"                                   # and for the target server
: "${WAIT_TIMEOUT:=}"                                      # seconds until both must be healthy; none: 600 on a CPU, an
                                                           # hour on GPUs, where the first start downloads and compiles
: "${SERVER_DIR:=results/servers}"                         # logs and PID files

# Starts both servers for this script alone, their logs and PID files below the folder given, and stops them when it ends;
# on a CPU at free ports.
start_own_servers() {
    if [[ $DEVICE == cpu ]]; then
        read -r SMALL_MODEL_PORT EVAL_MODEL_PORT < <("$PYTHON" -m ATTS.servers ports)
    fi
    export SMALL_MODEL EVAL_MODEL SMALL_MODEL_PORT EVAL_MODEL_PORT SERVER_DIR=$1
    trap 'bash scripts/stop_sglang_servers.sh' EXIT
    trap 'exit 130' INT TERM
    bash scripts/launch_sglang_servers.sh
}
