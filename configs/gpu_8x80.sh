# Eight GPUs of 80 GB: the published pair, the draft twice and the target three times. Not run on them by this project yet.
# Devices of one replica stand between semicolons. QwQ-32B has 40 heads, so three GPUs can't share it.
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-8B}"
: "${EVAL_MODEL:=Qwen/QwQ-32B}"
: "${SMALL_MODEL_REPLICAS:=2}"
: "${EVAL_MODEL_REPLICAS:=3}"
: "${SMALL_MODEL_DEVICE:=0;1}"
: "${EVAL_MODEL_DEVICES:=2,3;4,5;6,7}"
