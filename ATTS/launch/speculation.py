"""Whether a draft fits the engine's own speculative decoding: seen before the target's weights are loaded.

SGLang refuses an unfit draft too, after minutes: another context at once, another vocabulary when both models stand in
memory. These are its rules (0.5.23: ``ModelConfig._derive_context_length``, ``StandaloneWorkerV2``).
"""

import os
from collections.abc import Sequence
from itertools import pairwise

from tokenizers import Tokenizer

from ATTS import demo
from ATTS.errors import UserError
from ATTS.serving.model_folder import ModelFolder

LONGER = "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"  # lets a draft be used beyond its own context
SAME_TOKENS = "STANDALONE"  # drafts with a whole model, whose tokens must be the target's


def check(model: str, flags: Sequence[str]) -> None:
    """Reads the small files of ``model`` and of the draft that ``flags`` name, if they do. Raises UserError."""
    algorithm = (value(flags, "--speculative-algorithm") or "").upper()
    name = value(flags, "--speculative-draft-model-path")
    if name is None:
        if algorithm in (SAME_TOKENS, "EAGLE3"):
            raise UserError(f"--speculative-algorithm {algorithm} needs a draft: set SPECULATIVE_DRAFT")
        return
    target, draft = (ModelFolder.find(demo.resolve(one)) for one in (model, name))
    long, short = int(value(flags, "--context-length") or 0) or _context(target), _context(draft)
    if long and short and short < long and os.environ.get(LONGER, "").lower() not in ("1", "true"):
        raise UserError(
            f"{name} has a context of {short} tokens and {model} one of {long}, so it can't draft for it: add"
            f" --context-length {short} to EVAL_MODEL_ARGS, or export {LONGER}=1"
        )
    if algorithm == SAME_TOKENS:
        _same_tokens(target, draft)


def value(flags: Sequence[str], name: str) -> str | None:
    """What follows the last flag of this name; None if there is none."""
    found = [word.partition("=")[2] for word in flags if word.startswith(f"{name}=")]
    found += [word for flag, word in pairwise(flags) if flag == name]
    return found[-1] if found else None


def _context(folder: ModelFolder) -> int | None:
    """As SGLang reads it."""
    config = folder.json("config.json")
    config = config.get("text_config", config)
    scaling = config.get("rope_scaling") or {}
    factor = scaling.get("factor", 1)
    if "original_max_position_embeddings" in scaling or scaling.get("rope_type") == "llama3":
        factor = 1
    longest = config.get("max_position_embeddings")
    return int(factor * longest) if longest else None


def _same_tokens(target: ModelFolder, draft: ModelFolder) -> None:
    """Raises UserError where embeddings or tokenizers differ."""
    advice = f"choose a draft of the same tokenizer, or SPECULATIVE=NGRAM, which needs none ({SAME_TOKENS} does)"
    sizes = [folder.json("config.json").get("vocab_size") for folder in (target, draft)]
    if sizes[0] != sizes[1]:
        raise UserError(f"{target.source} has {sizes[0]} embeddings and {draft.source} {sizes[1]}: {advice}")
    files = [folder.path / "tokenizer.json" for folder in (target, draft)]
    if not all(file.is_file() for file in files):
        return  # SGLang compares other kinds itself
    ours, other = (Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True) for file in files)
    if ours != other:
        differ = sorted(text for text in ours.keys() | other.keys() if ours.get(text) != other.get(text))
        raise UserError(
            f"the tokenizers of {target.source} and {draft.source} differ in {len(differ)} tokens"
            f" ({', '.join(differ[:3])}): {advice}"
        )
