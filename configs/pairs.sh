# The pairs of the paper's three families on its data sets: the rows that the suites run unless CONFIGS
# is set. DATASETS in the environment chooses data sets; comment a pair out to leave it.
: "${DATASETS:=math500 aime24 aime25 amc23 olympiad gpqa}"

PAIRS=( # draft, target, and their short names in file names
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B  Qwen/QwQ-32B            qwq_32B   rllama_8B"
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B Qwen/QwQ-32B            qwq_32B   r1_1B"
    "Qwen/Qwen2.5-7B-Instruct                  Qwen/QwQ-32B            qwq_32B   qwen_7B"
    "meta-llama/Llama-3.1-8B-Instruct          simplescaling/s1.1-32B  s1.1_32B  llama_8B"
)

CONFIGS=$(
    for pair in "${PAIRS[@]}"; do
        read -r small eval eval_short small_short <<<"$pair"
        for dataset in $DATASETS; do echo "$small $eval $dataset $eval_short $small_short - - -"; done
    done
)
