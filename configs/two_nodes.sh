# A target over two machines of four GPUs each, the draft on a fifth GPU of the first. Not run by this project yet.
# On both, at the same time, with the first one's address and a free port of it:
#   CONFIG=configs/two_nodes.sh DIST_INIT_ADDR=10.0.0.1:20000 NODE_RANK=0 bash scripts/launch_sglang_servers.sh
#   CONFIG=configs/two_nodes.sh DIST_INIT_ADDR=10.0.0.1:20000 NODE_RANK=1 bash scripts/launch_sglang_servers.sh
# The first answers requests; stop_sglang_servers.sh on both ends it.
: "${NNODES:=2}"
: "${NODE_RANK:=0}"
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B}"
: "${EVAL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-70B}"
: "${SMALL_MODEL_DEVICE:=4}"
: "${EVAL_MODEL_DEVICES:=0,1,2,3}"
: "${WAIT_TIMEOUT:=3600}"
