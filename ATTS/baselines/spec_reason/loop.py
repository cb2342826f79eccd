"""SpecReason (arXiv 2504.07891): the draft writes a step, the target grades it from 0 to 9 with one
token, keeps it if the grade is good enough, and else writes the step itself.

Strictly one request after the other. A step ends at a paragraph break or at ``step_tokens``.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ATTS.errors import ExitStatus
from ATTS.method.types import Discarded, Event, Stage, Usage

BREAK = "\n\n"
THINK_END = "</think>"
MARKERS = ("boxed", "Answer:", "ANSWER:")  # that a step answers, as published: wherever they stand

FindAnswer = Callable[[str, bool], str | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One step, without the break behind it. ``end``: at a break, by the token limit, or the author ended."""

    text: str
    end: Literal["break", "length", "end"]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Grade:
    """What the target says behind "the quality score is": its likeliest token, and the probabilities of
    the single digits that the server told (all ten, or those among its likeliest tokens)."""

    token: str
    digits: Mapping[int, float]
    usage: Usage

    def score(self, method: Literal["greedy", "average"]) -> float:
        """The likeliest token if it is a number, else 0; or the mean over the digits, as if there were
        nothing else, 0 where none is known."""
        if method == "greedy":
            return int(self.token) if self.token.isdecimal() else 0
        mass = sum(self.digits.values())
        return sum(digit * p for digit, p in self.digits.items()) / mass if mass else 0


class Speaker(Protocol):
    """A model in the conversation about one question. ``pieces`` are the steps so far, each with the
    break behind it if there is one. Raises SampleError."""

    async def step(self, pieces: Sequence[str], max_tokens: int) -> Step:
        """Writes one step of reasoning, up to a blank line or the limit. Raises SampleError."""
        ...

    async def grade(self, pieces: Sequence[str]) -> Grade:
        """Grades a step from 0 to 9 by one token. Raises SampleError."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """``published`` brings back: a step that the token limit cut is followed by a break; a marker
    anywhere in a step finishes; an author who ended the text is asked again; ``</think>`` stays in the
    target's first steps."""

    score_threshold: float
    score_method: Literal["greedy", "average"]
    token_budget: int
    first_n_steps: int = 0
    step_tokens: int = 512
    published: bool = False


@dataclass
class Reasoning:
    """A sample as it grows."""

    find_answer: FindAnswer
    history: list[Event] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)  # always empty: nothing is drafted ahead
    answer: str | None = None
    pieces: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The steps that were kept, joined."""
        return "".join(self.pieces)

    def propose(self, turn: int, step: Step) -> None:
        """The draft's step is recorded as one that isn't kept, until it is."""
        event = Event(turn, Stage.DRAFT_DISCARDED, step.usage, output=step.text, ended=step.end == "end")
        self.history.append(event)

    def accept(self, piece: str, details: Mapping[str, object]) -> None:
        """The newest drafted step was good enough: it stays."""
        at = next(i for i in range(len(self.history) - 1, -1, -1) if self.history[i].stage is Stage.DRAFT_DISCARDED)
        self.history[at] = replace(self.history[at], stage=Stage.DRAFT, output=piece, details=details)

    def write(self, turn: int, step: Step, piece: str, details: Mapping[str, object]) -> None:
        """The target wrote a step; it stays."""
        event = Event(turn, Stage.CONTINUE, step.usage, output=piece, ended=step.end == "end", details=details)
        self.history.append(event)


async def spec_reason(chain: Reasoning, draft: Speaker, target: Speaker, rules: Rules) -> ExitStatus:
    """Draft, grade, keep or write anew, until there is an answer or the budget is spent.

    Only tokens of kept steps count towards the budget, and a step is cut to what is left of it (as published it
    is not); a spent budget is reported even if there is an answer. Raises SampleError.
    """
    spent = 0
    for turn in itertools.count():
        accepted = False
        most = rules.step_tokens if rules.published else min(rules.step_tokens, rules.token_budget - spent)
        if turn < rules.first_n_steps:
            step = await target.step(chain.pieces, most)
        else:
            step = await draft.step(chain.pieces, most)
            chain.propose(turn, step)
            accepted = await _good_enough(chain, target, turn, step, rules)
            if not accepted:  # the target doesn't see what it rejected
                step = await target.step(chain.pieces, most)
        text, details = _without_end(step.text, turn, rules)
        piece = _piece(text, step, rules)
        if accepted:
            chain.accept(piece, details)
        else:
            chain.write(turn, step, piece, details)
        chain.pieces.append(piece)
        chain.steps.append(text)
        chain.answer = chain.find_answer(chain.text, step.end == "end")
        spent += max(1, step.usage.completion_tokens)
        status = _finished(chain, step, rules)
        if spent >= rules.token_budget:
            return ExitStatus.BUDGET_SPENT
        if status is not None:
            return status
        if step.end == "end" and not rules.published:
            return ExitStatus.DRAFT_ENDED if accepted else ExitStatus.TARGET_ENDED
    raise AssertionError


async def _good_enough(chain: Reasoning, target: Speaker, turn: int, step: Step, rules: Rules) -> bool:
    grade = await target.grade([*chain.pieces, _piece(step.text, step, rules)])
    score = grade.score(rules.score_method)
    accepted = score >= rules.score_threshold
    details = {
        "score": score,
        "accepted": accepted,
        "token": grade.token,
        "digits": {str(digit): p for digit, p in grade.digits.items()},
    }
    chain.history.append(Event(turn, Stage.GRADE, grade.usage, details=details))
    return accepted


def _piece(text: str, step: Step, rules: Rules) -> str:
    """A step with what joins it to the next: nothing where the token limit cut it."""
    return text if step.end == "length" and not rules.published else text + BREAK


def _without_end(text: str, turn: int, rules: Rules) -> tuple[str, Mapping[str, object]]:
    """Thinking goes on: a ``</think>`` in a step without an answer is taken out."""
    faithful = rules.published and turn < rules.first_n_steps
    if THINK_END not in text or faithful or any(marker in text for marker in MARKERS):
        return text, {}
    return text.replace(THINK_END, ""), {"warning": f"{THINK_END} taken out"}


def _finished(chain: Reasoning, step: Step, rules: Rules) -> ExitStatus | None:
    if chain.answer is not None:
        return ExitStatus.ANSWERED
    if rules.published and any(marker in step.text for marker in MARKERS):
        return ExitStatus.UNANSWERED
    if len(chain.steps) > 2 and chain.steps[-1] == chain.steps[-2]:
        return ExitStatus.REPEATED
    return None
