# A small pair of real language models on CPU: two cores and 16 GB do. Hub ids; a folder by SMALL_MODEL=, EVAL_MODEL=.
: "${DEVICE:=cpu}"
: "${SMALL_MODEL:=Qwen/Qwen2.5-Coder-0.5B-Instruct}"
: "${EVAL_MODEL:=Qwen/Qwen2.5-Coder-1.5B-Instruct}"
: "${SMALL_MODEL_MAX_TOKENS:=80}"
: "${EVAL_MODEL_MAX_TOKENS:=80}"
: "${WAIT_TIMEOUT:=3600}" # the models are downloaded first
