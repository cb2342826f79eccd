# Three GPUs of 80 GB: the published pair, as without any file. Not run on them by this project yet.
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-8B}"
: "${EVAL_MODEL:=Qwen/QwQ-32B}"
: "${SMALL_MODEL_DEVICE:=0}"
: "${EVAL_MODEL_DEVICES:=1,2}"
