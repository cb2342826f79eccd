"""What a result file holds: one sample, in the published layout plus what was missing there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict, cast, overload

from ATTS.errors import ExitStatus
from ATTS.method.types import Event, Stage, Transcript
from ATTS.tasks.answers import INVALID
from ATTS.tasks.datasets import Question

SCHEMA = 1
# Statuses of work still owed: the sample did not fail by itself, so the same command tries it again.
OWED = frozenset({ExitStatus.SERVER_FAILED, ExitStatus.SCORE_FAILED, ExitStatus.CANCELLED})

ALWAYS = (Stage.DRAFT, Stage.SCORE, Stage.CONTINUE)
_ASKED = Stage.CONFIDENCE


class StageUsage(TypedDict):
    """What one stage cost a sample: tokens as the server counted them, seconds as the client saw them."""

    requests: int
    prompt_tokens: int
    cached_tokens: int  # of the prompt tokens, those in the server's prefix cache
    written_tokens: int  # 0 for scores
    queue_seconds: float  # waiting for a free slot on this side
    serve_seconds: float  # at the server, retries included


class HistoryEntry(TypedDict, total=False):
    """One stage of a sample in ``full_history``. Of published samples only the first two and a text or a score."""

    turn: Required[int]
    model: Required[str]  # a ``Stage`` by its value
    output: str  # what was written and stays in the text
    discarded: str  # or was dropped
    tokens: int  # that were written
    ended: bool  # the author ended the text by itself
    ppl: float  # the perplexity of a scored chunk; may be infinite in published samples
    percentile: float  # of 1: the share of calibration scores below
    rejected: bool
    order: int  # the decision's number in its run, where the rule learns on the way
    level: float  # up to which that rule rejected
    p_value: float
    at: float  # seconds of the sample at which it was asked for
    seconds: float  # at the server
    queued: float  # seconds waiting for a free slot on this side
    # Of SpecReason and Speculative Thinking:
    score: float  # a grade of 0-9
    accepted: bool
    digits: dict[str, float]  # the probability of each grade
    kind: str  # why the target took over


class Digests(TypedDict):
    """Of what a sample depends on besides its question."""

    settings_digest: str | None
    calibration_digest: str | None


class DiscardedChunk(TypedDict):
    """A chunk that was drafted ahead for nothing. ``tokens``: None if it was broken off."""

    turn: int
    at: float
    seconds: float
    tokens: int | None


class Said(TypedDict):
    """How likely a model's next token is Yes or No when it is asked whether an answer is right."""

    yes: float
    no: float


class Record(TypedDict, total=False):
    """One sample, as in ``problem_XXXX.json``. Of published samples there are the required keys, and what the
    driver wrote of the others."""

    problem_index: Required[int]  # question_index * repeats + repeat
    full_history: Required[list[HistoryEntry]]
    final_answer: Required[str | None]  # "invalid" if there is none
    schema: int
    question_index: int
    question_id: str  # by content
    repeat: int
    exit_status: str  # an ``ExitStatus`` by its value
    reason: str | None
    reference_answer: str
    question: str
    group: str
    started_at: float  # seconds of the epoch
    duration_seconds: float  # waiting included
    usage: dict[str, StageUsage]  # by stage
    discarded: list[DiscardedChunk]
    settings_digest: str | None
    calibration_digest: str | None
    confidence: dict[str, Said]  # by the role of the model that was asked
    final_answer_runtime: str  # the answer of the run, where it was read again
    final_answer_regex: str
    final_answer_llm: str


@dataclass(frozen=True, slots=True)
class Key:
    """One sample of one question. ``index`` numbers the result file, as published."""

    question: Question
    repeat: int
    repeats: int

    @property
    def index(self) -> int:
        """The number of the sample's file."""
        return self.question.index * self.repeats + self.repeat


@dataclass(frozen=True, slots=True)
class Keys(Sequence[Key]):
    """All samples of some questions, question by question; a key is made when it is asked for."""

    questions: Sequence[Question]
    repeats: int

    def __len__(self) -> int:
        return len(self.questions) * self.repeats

    @overload
    def __getitem__(self, number: int) -> Key: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Key]: ...
    def __getitem__(self, number: int | slice) -> Key | Sequence[Key]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        question, repeat = divmod(number % len(self), self.repeats)
        return Key(self.questions[question], repeat, self.repeats)


def round_by_round(keys: Sequence[Key]) -> list[Key]:
    """The first repeat of every question, then the second: the order in which scores are learnt on the way,
    since a bank that saw one question after another lags behind."""
    return sorted(keys, key=lambda key: (key.repeat, key.question.index))


def record(
    key: Key,
    chain: Transcript,
    status: ExitStatus,
    reason: str | None,
    seconds: float,
    digests: Digests,
    started_at: float = 0.0,
) -> Record:
    """The content of ``problem_XXXX.json``. ``seconds`` is the sample's wall time, waiting included;
    ``started_at`` the event loop's time at which it began."""
    content: Record = {
        "schema": SCHEMA,
        "problem_index": key.index,
        "question_index": key.question.index,
        "question_id": key.question.id,
        "repeat": key.repeat,
        "exit_status": status.value,
        "reason": reason,
        "final_answer": chain.answer if chain.answer is not None else INVALID,
        "reference_answer": key.question.answer,
        "duration_seconds": seconds,
        "usage": {stage.name.lower(): _usage(chain.history, stage) for stage in _stages(chain.history)},
        "discarded": [
            {"turn": d.turn, "at": d.asked_at - started_at, "seconds": d.seconds, "tokens": d.tokens}
            for d in chain.discarded
        ],
        "settings_digest": digests["settings_digest"],
        "calibration_digest": digests["calibration_digest"],
        "question": key.question.problem,
        "full_history": [_entry(event, started_at) for event in chain.history],
    }
    if key.question.group:
        content["group"] = key.question.group
    if said := _confidence(chain.history):
        content["confidence"] = said
    return content


def confidence(sample: Record, by: str) -> float | None:
    """How sure the model in the role ``by`` is of a sample's answer: P(Yes) / (P(Yes) + P(No)); None if it wasn't
    asked, or failed to say."""
    said = (sample.get("confidence") or {}).get(by)
    return None if said is None else float(said["yes"] / (said["yes"] + said["no"]))


def _confidence(history: list[Event]) -> dict[str, Said]:
    """What each model that was asked says of the answer: its probabilities of Yes and No, by its role."""
    return {e.details["by"]: {"yes": e.details["yes"], "no": e.details["no"]} for e in history if e.stage is _ASKED}


def _stages(history: list[Event]) -> list[Stage]:
    """The three of the loop, and the baselines' where they occur."""
    return [stage for stage in Stage if stage in ALWAYS or any(event.stage is stage for event in history)]


def _usage(history: list[Event], stage: Stage) -> StageUsage:
    """Requests, tokens and seconds of one stage; queueing is waiting for a free slot on this side."""
    used = [event.usage for event in history if event.stage is stage]
    return {
        "requests": len(used),
        "prompt_tokens": sum(usage.prompt_tokens for usage in used),
        "cached_tokens": sum(usage.cached_tokens for usage in used),
        "written_tokens": sum(usage.completion_tokens for usage in used) if stage is not Stage.SCORE else 0,
        "queue_seconds": sum(usage.queue_seconds for usage in used),
        "serve_seconds": sum(usage.serve_seconds for usage in used),
    }


def _entry(event: Event, started_at: float) -> HistoryEntry:
    """One entry of ``full_history``, with the published keys first."""
    entry: dict[str, Any] = {"turn": event.turn, "model": event.stage.value}
    if event.stage is Stage.SCORE:
        entry |= {"ppl": event.ppl, "percentile": event.percentile, "rejected": event.rejected}
    elif event.output is not None:
        what = "discarded" if event.stage.discarded else "output"  # the outputs, joined, are the chain
        entry |= {what: event.output, "tokens": event.usage.completion_tokens, "ended": event.ended}
    usage = event.usage
    if usage.asked_at:  # not a text that was put in without asking
        entry["at"] = usage.asked_at - started_at
    return cast(HistoryEntry, entry | {"seconds": usage.serve_seconds, "queued": usage.queue_seconds, **event.details})
