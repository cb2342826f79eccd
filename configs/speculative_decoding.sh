# The target alone with the engine's own speculative decoding, as one more row of the comparison on GPUs.
# Needs a GPU: SGLang 0.5.23 has none of this on CPU. Not run by this project yet.
# STANDALONE: any small model of the same vocabulary drafts single tokens. With a trained head instead:
#   SPECULATIVE="--speculative-algorithm EAGLE3 --speculative-draft-model-path HEAD --speculative-num-steps 3
#   --speculative-eagle-topk 1 --speculative-num-draft-tokens 4", and without any model, NGRAM.
source configs/compare_gpu.sh
: "${SPECULATIVE_DRAFT:=Qwen/Qwen2.5-0.5B-Instruct}"
: "${SPECULATIVE:=--speculative-algorithm STANDALONE --speculative-draft-model-path $SPECULATIVE_DRAFT --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4}"
: "${EVAL_MODEL_ARGS:=$SPECULATIVE}"
: "${METHODS:=speculative_decoding}"
