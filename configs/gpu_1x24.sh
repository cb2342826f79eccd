# One GPU of 24 GB (L4, A10, RTX 3090 or 4090): 1.5B drafts for 7B. Not run on one by this project yet.
# Weights take 18.8 GB, so the caches are small: 24,576 tokens each, three chains of full length. The draft starts first;
# each share is of what is free then. Scoring makes a row of 152,064 numbers a token: 256 rows at a time, not 2,048.
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B}"
: "${EVAL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Qwen-7B}"
: "${SMALL_MODEL_DEVICE:=0}"
: "${EVAL_MODEL_DEVICES:=0}"
: "${SMALL_MODEL_MEM_FRACTION:=0.2}"
: "${EVAL_MODEL_MEM_FRACTION:=0.92}"
SMALL_CARD="--context-length 8192 --max-total-tokens 24576 --chunked-prefill-size 2048 --cuda-graph-max-bs-decode 16"
: "${SMALL_MODEL_ARGS:=$SMALL_CARD}"
: "${EVAL_MODEL_ARGS:=$SMALL_CARD}"
export SGLANG_LOGPROB_CHUNK_SIZE=${SGLANG_LOGPROB_CHUNK_SIZE:-256}
