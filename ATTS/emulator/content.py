"""What an emulated server says: the protocol, and two contents that need no recording."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a content sees it: the prompt as text and as token ids, and the limits."""

    role: str  # name of the emulated server
    assistant: str | None  # of a chat request: the final assistant message that is to go on; "": none
    text: str
    ids: Sequence[int]
    max_new_tokens: int
    temperature: float
    ignore_eos: bool = False  # write all of them


@dataclass(frozen=True, slots=True)
class Written:
    """``finish`` "stop": the author ended the text. "length": it was cut here, however many tokens that
    is by the server's own tokenizer. None: the server cuts it at ``max_new_tokens``, else it has ended."""

    text: str
    finish: str | None = None


class Content(Protocol):
    """What a model has to say. Raises LookupError for a prompt it knows nothing about."""

    def write(self, ask: Ask) -> Written:
        """How the prompt goes on."""
        ...

    def logprobs(self, ask: Ask, start: int) -> Sequence[float | None]:
        """Natural log-probabilities of ``ask.ids[start:]``; never called with ``start`` 0."""
        ...

    def likely(self, ask: Ask) -> Mapping[str, float]:  # noqa: ARG002
        """Probabilities of the next token, by its text, for methods that grade with a digit."""
        raise LookupError("this content knows no probabilities of other tokens than those it writes")

    def best(self, ask: Ask, own: Sequence[float | None]) -> Sequence[float | None]:  # noqa: ARG002
        """Log-probabilities of the likeliest tokens, in the places where those that are there have ``own``."""
        raise LookupError("this content knows no probabilities of other tokens than those that are there")


@dataclass(frozen=True)
class Scripted(Content):
    """Content from functions."""

    writer: Callable[[Ask], Written]
    scorer: Callable[[Ask, int], Sequence[float | None]]
    teller: Callable[[Ask], Mapping[str, float]] | None = None
    finder: Callable[[Ask, Sequence[float | None]], Sequence[float | None]] | None = None

    def write(self, ask: Ask) -> Written:
        """See Content."""
        return self.writer(ask)

    def logprobs(self, ask: Ask, start: int) -> Sequence[float | None]:
        """See Content."""
        return self.scorer(ask, start)

    def likely(self, ask: Ask) -> Mapping[str, float]:
        """See Content."""
        return Content.likely(self, ask) if self.teller is None else self.teller(ask)

    def best(self, ask: Ask, own: Sequence[float | None]) -> Sequence[float | None]:
        """See Content."""
        return Content.best(self, ask, own) if self.finder is None else self.finder(ask, own)


class RandomText(Content):
    """Digits of random length for capacity planning: a chunk's length and the way scores fall are
    drawn by seed, the text means nothing.

    An answer ends a text with probability ``answers``; tokens have log-probabilities of mean
    ``-surprise``.
    """

    def __init__(self, seed: int = 0, mean_tokens: int = 300, answers: float = 0.2, surprise: float = 0.5) -> None:
        self._random = random.Random(seed)
        self._mean_tokens, self._answers, self._surprise = mean_tokens, answers, surprise

    def write(self, ask: Ask) -> Written:
        """See Content."""
        length = max(1, round(self._random.expovariate(1 / self._mean_tokens)))
        text = "".join(self._random.choices("0123456789", k=ask.max_new_tokens if ask.ignore_eos else length))
        if ask.ignore_eos:
            return Written(text)
        if self._random.random() < self._answers:
            return Written(rf"{text} \boxed{{{self._random.randrange(100)}}}", "stop")
        return Written(text + " ")

    def logprobs(self, ask: Ask, start: int) -> list[float | None]:
        """See Content."""
        level = self._random.expovariate(1 / self._surprise)
        return [-level for _ in ask.ids[start:]]

    def best(self, ask: Ask, own: Sequence[float | None]) -> list[float | None]:  # noqa: ARG002
        """See Content."""
        return [None if value is None else value * self._random.random() for value in own]
