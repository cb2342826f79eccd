"""Content that also tells how likely the next token is, for methods that read it: grading with a digit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ATTS.emulator.content import Ask, Content, Scripted
from ATTS.serving.tokenizer import ModelTokenizer

NEVER = -1e4  # log-probability of a token that the content doesn't name


@runtime_checkable
class TellsLikely(Content, Protocol):
    def likely(self, ask: Ask) -> Mapping[str, float]:
        """Probabilities of the next token, by its text."""
        ...


@dataclass(frozen=True)
class ScriptedLikely(Scripted):
    """Content from three functions."""

    teller: Callable[[Ask], Mapping[str, float]]

    def likely(self, ask: Ask) -> Mapping[str, float]:
        return self.teller(ask)


def likely_fields(
    content: Content, ask: Ask, tokenizer: ModelTokenizer, token_ids: Sequence[int], top: int
) -> dict[str, Any]:
    """The fields of ``meta_info`` for ``token_ids_logprob`` and ``top_logprobs_num``, of one new token.
    Raises LookupError for a content that knows no probabilities."""
    if not isinstance(content, TellsLikely):
        raise LookupError("this content knows no probabilities of other tokens than those it writes")
    known = {tokenizer.encode(text)[0]: math.log(p) if p else NEVER for text, p in content.likely(ask).items()}
    meta: dict[str, Any] = {}
    if token_ids:
        meta["output_token_ids_logprobs"] = [[[known.get(token, NEVER), token, None] for token in token_ids]]
    if top:
        likeliest = sorted(known.items(), key=lambda item: -item[1])[:top]
        meta["output_top_logprobs"] = [[[value, token, None] for token, value in likeliest]]
    return meta
