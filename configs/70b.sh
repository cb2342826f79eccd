# The paper's largest claim: a draft of 1.5B and a target of 70B, on five GPUs of 80 GB. Not run by this project yet.
# A GPU for the draft, four for the target: 141 GB of weights leave 147 GB for chains at 90 % of the memory.
: "${SMALL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B}"
: "${EVAL_MODEL:=deepseek-ai/DeepSeek-R1-Distill-Llama-70B}"
: "${SMALL_MODEL_DEVICE:=0}"
: "${EVAL_MODEL_DEVICES:=1,2,3,4}"
: "${EVAL_MODEL_ARGS:=--enable-hierarchical-cache}" # chains that don't fit stay in the machine's own memory
: "${WAIT_TIMEOUT:=3600}"                           # the models are downloaded first
: "${CONFIGS:=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B deepseek-ai/DeepSeek-R1-Distill-Llama-70B math500 rllama_70B r1_1B - - -}"
