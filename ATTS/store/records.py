"""What a result file holds: one sample, in the published layout plus what was missing there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from ATTS.errors import ExitStatus
from ATTS.method.types import Event, Stage, Transcript
from ATTS.tasks.answers import INVALID
from ATTS.tasks.datasets import Question

SCHEMA = 1
# Statuses of work still owed: the sample did not fail by itself, so the same command tries it again.
OWED = frozenset({ExitStatus.SERVER_FAILED, ExitStatus.SCORE_FAILED, ExitStatus.CANCELLED})

ALWAYS = (Stage.DRAFT, Stage.SCORE, Stage.CONTINUE)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One sample of one question. ``index`` numbers the result file, as published."""

    question: Question
    repeat: int
    repeats: int

    @property
    def index(self) -> int:
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
    digests: dict[str, str | None],
    started_at: float = 0.0,
) -> Record:
    """The content of ``problem_XXXX.json``. ``seconds`` is the sample's wall time, waiting included;
    ``started_at`` the event loop's time at which it began."""
    return {
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
        **digests,
        **({"group": key.question.group} if key.question.group else {}),
        "question": key.question.problem,
        "full_history": [_entry(event, started_at) for event in chain.history],
    }


def _stages(history: list[Event]) -> list[Stage]:
    """The three of the loop, and the baselines' where they occur."""
    return [stage for stage in Stage if stage in ALWAYS or any(event.stage is stage for event in history)]


def _usage(history: list[Event], stage: Stage) -> dict[str, float]:
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


def _entry(event: Event, started_at: float) -> Record:
    """One entry of ``full_history``, with the published keys first."""
    entry: Record = {"turn": event.turn, "model": event.stage.value}
    if event.stage is Stage.SCORE:
        entry |= {"ppl": event.ppl, "percentile": event.percentile, "rejected": event.rejected}
    elif event.output is not None:
        what = "discarded" if event.stage.discarded else "output"  # the outputs, joined, are the chain
        entry |= {what: event.output, "tokens": event.usage.completion_tokens, "ended": event.ended}
    usage = event.usage
    if usage.asked_at:  # not a text that was put in without asking
        entry["at"] = usage.asked_at - started_at
    return entry | {"seconds": usage.serve_seconds, "queued": usage.queue_seconds, **event.details}
