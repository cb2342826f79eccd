"""Content that also tells how likely other tokens are, for methods that read it: grading with a digit, regret."""

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


@runtime_checkable
class TellsBest(Content, Protocol):
    def best(self, ask: Ask, own: Sequence[float | None]) -> Sequence[float | None]:
        """Log-probabilities of the likeliest tokens, in the places where those that are there have ``own``."""
        ...


@dataclass(frozen=True)
class ScriptedBest(Scripted):
    """Content from three functions."""

    finder: Callable[[Ask, Sequence[float | None]], Sequence[float | None]]

    def best(self, ask: Ask, own: Sequence[float | None]) -> Sequence[float | None]:
        return self.finder(ask, own)


def best_field(content: Content, ask: Ask, own: Sequence[float | None]) -> list[list[list[Any]] | None]:
    """The field ``input_top_logprobs`` for the likeliest token at each of the places of ``own``, the first left empty
    as SGLang does; which token that is where it isn't the one that is there, a content doesn't tell. Raises LookupError
    for a content that knows no other tokens."""
    if not isinstance(content, TellsBest):
        raise LookupError("this content knows no probabilities of other tokens than those that are there")
    tokens = ask.ids[len(ask.ids) - len(own) :]
    best = zip(tokens, own, content.best(ask, own), strict=True)
    known = ((value, token if value == there else int(token == 0)) for token, there, value in best)
    return [None, *([[value, token, None]] for value, token in known)]


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
