#!/usr/bin/env bash
# Start the draft and the target server and wait until both are healthy.
# Every variable below can be set in the environment, or come from a file: CONFIG=configs/demo.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

exec "$PYTHON" -m ATTS.servers start \
    --nodes "$NNODES" --node "$NODE_RANK" --meeting "$DIST_INIT_ADDR" \
    --device "$DEVICE" --host "$SGLANG_HOST" --folder "$SERVER_DIR" --timeout "$WAIT_TIMEOUT" \
    --small_model "$SMALL_MODEL" --small_model_port "$SMALL_MODEL_PORT" \
    --small_model_devices "$SMALL_MODEL_DEVICE" --small_model_memory_fraction "$SMALL_MODEL_MEM_FRACTION" \
    --small_model_args="$SMALL_MODEL_ARGS" \
    --eval_model "$EVAL_MODEL" --eval_model_port "$EVAL_MODEL_PORT" \
    --eval_model_devices "$EVAL_MODEL_DEVICES" --eval_model_memory_fraction "$EVAL_MODEL_MEM_FRACTION" \
    --eval_model_args="$EVAL_MODEL_ARGS" \
    --small_model_replicas "$SMALL_MODEL_REPLICAS" --small_model_gateway_port "$SMALL_MODEL_GATEWAY_PORT" \
    --eval_model_replicas "$EVAL_MODEL_REPLICAS" --eval_model_gateway_port "$EVAL_MODEL_GATEWAY_PORT" \
    --gateway_python "$GATEWAY_PYTHON"
