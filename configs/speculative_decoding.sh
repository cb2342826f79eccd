# The target alone with the engine's own speculative decoding, as one more row of the comparison on GPUs.
# Needs a GPU: SGLang 0.5.23 has none of this on CPU. Not run on one by this project yet; tests/gpu/test_command_lines.py
# resolves these flags as SGLang does.
#   SPECULATIVE=NGRAM       drafts from what was written before; needs no model (default)
#   SPECULATIVE=STANDALONE  SPECULATIVE_DRAFT, a small model of the target's own tokenizer, vocabulary and context, drafts
#                           single tokens. That is checked at the start; Qwen2.5's small ones don't fit QwQ-32B.
#   SPECULATIVE=EAGLE3      SPECULATIVE_DRAFT, a head trained for this target; its own context is exceeded
: "${SPECULATIVE:=NGRAM}"
source configs/compare_gpu.sh
case $SPECULATIVE in
    NGRAM) : "${EVAL_MODEL_ARGS:=--speculative-algorithm NGRAM}" ;;
    STANDALONE | EAGLE3)
        : "${SPECULATIVE_DRAFT:?a model that drafts: its folder or its name on the hub}"
        : "${EVAL_MODEL_MEM_FRACTION:=0.8}" # two models, two sets of CUDA graphs
        : "${EVAL_MODEL_ARGS:=--speculative-algorithm $SPECULATIVE --speculative-draft-model-path $SPECULATIVE_DRAFT --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4}"
        if [[ $SPECULATIVE == EAGLE3 ]]; then export SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1; fi
        ;;
    *) echo "error: SPECULATIVE must be NGRAM, STANDALONE or EAGLE3, not '$SPECULATIVE'" >&2; exit 2 ;;
esac
: "${METHODS:=speculative_decoding}"
