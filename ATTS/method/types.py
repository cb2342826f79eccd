"""What the loop needs from the world (small protocols) and what it says about a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request cost: tokens as the server counted them, seconds as the client saw them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt tokens, those the server had in its prefix cache
    completion_tokens: int = 0
    queue_seconds: float = 0.0  # waiting for a free slot on this side
    serve_seconds: float = 0.0  # from sending the request to having the whole answer, retries included
    asked_at: float = 0.0  # when the request was made, before any waiting, by the event loop's clock


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model wrote: ``ids`` without an end-of-text token; ``ended`` if it wrote one."""

    ids: list[int]
    ended: bool
    usage: Usage
    stopped: str | None = None  # the stop string it ends in


class LanguageModel(Protocol):
    """A served model."""

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        """Continues ``ids`` by at most ``max_tokens`` tokens, up to and with the first of the texts in
        ``stop``. Raises SampleError."""
        ...

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """Natural log-probabilities of ``ids[start:]``, each given all before it. Raises SampleError."""
        ...


@runtime_checkable
class TellsBest(LanguageModel, Protocol):
    """A model that also says how likely its own choices were."""

    async def logprobs_and_best(
        self, ids: Sequence[int], start: int
    ) -> tuple[list[float | None], list[float | None], Usage]:
        """As ``logprobs``, and of each position the log-probability of the token that is likeliest there. Raises
        SampleError."""
        ...


class Tokenizer(Protocol):
    """Text to token ids and back; ``decode(encode(text)) == text``."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without begin-of-text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, end tokens left out."""
        ...


class Stage(StrEnum):
    """The stages of a turn, by the names that the published result files use."""

    DRAFT = "small"
    SCORE = "eval_ppl"
    CONTINUE = "eval_generate"
    # Of the baselines:
    GRADE = "eval_score"  # the target grades a step
    DRAFT_DISCARDED = "small_discarded"  # the draft wrote what was not kept
    TARGET_DISCARDED = "eval_discarded"  # and the target
    INSERT = "inserted"  # a fixed text that nobody wrote
    CONFIDENCE = "confidence"  # a model says whether the answer is right (--confidence)

    @property
    def discarded(self) -> bool:
        """Whether what was written then is no part of the text."""
        return self in (Stage.DRAFT_DISCARDED, Stage.TARGET_DISCARDED)

    @property
    def author(self) -> Literal["draft", "target"] | None:
        """Who wrote then, kept or not; None where nobody did: a score, a grade, a fixed text."""
        if self in (Stage.DRAFT, Stage.DRAFT_DISCARDED):
            return "draft"
        return "target" if self in (Stage.CONTINUE, Stage.TARGET_DISCARDED) else None


@dataclass(frozen=True, slots=True)
class Event:
    """One request of a sample, in order; together they are the sample's history."""

    turn: int
    stage: Stage
    usage: Usage
    output: str | None = None  # the text, for the writing stages
    ended: bool = False  # the author ended the text by itself
    ppl: float | None = None
    percentile: float | None = None
    rejected: bool | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # what a baseline or a verdict says besides, JSON values
    score: float | None = None  # what decided: the perplexity unless another score was asked for

    @property
    def final(self) -> bool:
        """Whether its author has nothing to add: it ended the text, or wrote nothing."""
        return self.ended or not self.output


@dataclass(frozen=True, slots=True)
class Discarded:
    """A chunk that was drafted for nothing. ``tokens``: None if it was broken off, because a server
    doesn't say how far it had come."""

    turn: int
    asked_at: float
    seconds: float
    tokens: int | None


class Transcript(Protocol):
    """What a loop leaves behind of one sample, however it ended."""

    history: list[Event]
    discarded: list[Discarded]
    answer: str | None

    @property
    def text(self) -> str:
        """The chain: everything written that stays, joined."""
        ...
