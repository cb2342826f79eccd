# One GPU of 80 GB (A100, H100): 8B drafts for 14B. Not run on one by this project yet.
# The draft starts first and takes 33 % of the memory; SGLang chooses the target's share of the rest.
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-8B}"
: "${EVAL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Qwen-14B}"
: "${SMALL_MODEL_DEVICE:=0}"
: "${EVAL_MODEL_DEVICES:=0}"
: "${SMALL_MODEL_MEM_FRACTION:=0.33}"
