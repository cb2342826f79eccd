"""Which samples of a run are still worth running: a question's end where its answers decide it.

Of each question as many samples are under way as may all be needed: the fewest with which the rule could decide. Where
no question lacks any of these, the first undecided one starts more, so that nothing stands idle: with one question all
samples start at once. (Waves of 2, 2, 4, 8 instead wrote 2 % more text and took 5 % longer on a recorded run.)

What a decision leaves over is recorded with the status ``stopped``: samples under way are cancelled, with the tokens
that they had written, and waiting ones never start. A question's samples count in the order of their ends, so a resumed
run, which takes them in from the folder in that order, decides as one that was not interrupted.
"""

import asyncio
import heapq
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ATTS.method.types import Discarded, Event
from ATTS.store.records import Key
from ATTS.votes.stop import Outcome, StopRule, decision, fewest
from ATTS.votes.vote import Ballot

Label = Callable[[int, str], Awaitable[str]]  # (question, answer) -> the vote of answers that mean the same


@dataclass(frozen=True, slots=True)
class Said:
    """What a sample that ended comes to. ``ended_at``: seconds since some time, the same for all."""

    question: int
    index: int  # of the sample
    ended_at: float
    answer: str | None
    confidence: float | None


@dataclass
class Unstarted:
    """The transcript of a sample that never ran."""

    history: list[Event] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)
    answer: str | None = None
    text: str = ""


@dataclass
class _Question:
    """One question's samples. ``ended``: (when, which sample, what it says), in that order."""

    most: int
    waiting: deque[Key] = field(default_factory=deque)
    started: int = 0
    open: int = 0  # started, and neither ended nor failed
    quota: int = 0  # samples to start, that may all be needed
    ended: list[tuple[float, int, Ballot]] = field(default_factory=list)
    running: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)  # by sample
    counted: asyncio.Event | None = None  # set when the newest sample that ended is counted
    outcome: Outcome | None = None


class Stopping:
    """The samples owed by a run, handed out one by one until their questions are decided.

    ``before``: what the folder holds of these questions already. ``decided``: questions of which it holds samples that
    were stopped, so that a decision stays one. ``label``: names answers that mean the same alike.
    """

    def __init__(
        self,
        rule: StopRule,
        owed: Iterable[Key],
        label: Label,
        before: Sequence[Said] = (),
        decided: Iterable[int] = (),
    ) -> None:
        self._rule, self._label = rule, label
        self._questions: dict[int, _Question] = {}
        self._lock = asyncio.Lock()  # one answer at a time is compared with the others
        self._cancelled: set[int] = set()
        self._turns: dict[int, tuple[asyncio.Event | None, asyncio.Event]] = {}  # by sample: before it, and its own
        self.owed = list(owed)
        for key in self.owed:
            self._questions.setdefault(key.question.index, _Question(key.repeats)).waiting.append(key)
        self._before = [said for said in before if said.question in self._questions]
        self._decided = self._questions.keys() & set(decided)
        self._order = list(self._questions)  # of the questions
        self._place = {number: place for place, number in enumerate(self._order)}
        self._ready: list[int] = []  # a heap: places in the order of the questions that may need more than they have
        self._beyond = 0  # all questions before this place have nothing waiting

    async def begin(self) -> list[Key]:
        """Takes in what was there before. Returns the samples that need not be run."""
        for said in self._before:
            self._questions[said.question].started += 1
            await self._count(said)
        for number in self._decided:
            question = self._questions[number]
            question.outcome = question.outcome or Outcome(None, len(question.ended), stopped=True)
        for number in self._order:
            self._update(number)
        return [key for question in self._questions.values() if question.outcome for key in _emptied(question.waiting)]

    def take(self, only: int | None = None) -> Key | None:
        """The sample to start now, None if no sample is left: the next one of the first question that may need it;
        where none does, of the first question that has any. ``only``: of this question."""
        if only is not None:
            return self._started(only) if self._questions[only].waiting else None
        while self._ready:
            number = self._order[self._ready[0]]
            if self._questions[number].waiting and self._questions[number].quota:
                return self._started(number)
            heapq.heappop(self._ready)
        while self._beyond < len(self._order):
            if self._questions[self._order[self._beyond]].waiting:
                return self._started(self._order[self._beyond])
            self._beyond += 1
        return None

    def _started(self, number: int) -> Key:
        question = self._questions[number]
        question.started += 1
        question.open += 1
        question.quota = max(0, question.quota - 1)
        return question.waiting.popleft()

    def _update(self, number: int) -> None:
        """Says how many more samples of a question may start since all may be needed."""
        question = self._questions[number]
        if question.waiting and question.outcome is None:
            question.quota = fewest(self._rule, self.ballots(number), question.most) - question.open
            if question.quota > 0:
                heapq.heappush(self._ready, self._place[number])

    def ballots(self, question: int) -> list[Ballot]:
        """What the samples of a question have said so far, in the order of their ends."""
        return [ballot for *_, ballot in self._questions[question].ended]

    @contextmanager
    def under_way(self, key: Key) -> Iterator[None]:
        """While a sample runs in the current task, which a decision may cancel."""
        question, task = self._questions[key.question.index], asyncio.current_task()
        assert task is not None
        question.running[key.index] = task
        try:
            yield
        finally:
            del question.running[key.index]
            # Writing a sample and comparing its answer may take longer than those of the next one.
            before, question.counted = question.counted, asyncio.Event()
            self._turns[key.index] = before, question.counted

    def was_cancelled(self, key: Key) -> bool:
        """Whether it was a decision that cancelled the sample, and nothing else did. To be asked once, in its task."""
        task = asyncio.current_task()
        assert task is not None
        return key.index in self._cancelled and task.uncancel() == 0

    async def ended(self, key: Key, said: Said | None) -> list[Key]:
        """Counts a sample that ended by itself, or one that says nothing (None), after those of its question that ended
        before. If that decides the question, cancels the samples under way and returns those that were waiting."""
        number = key.question.index
        question = self._questions[number]
        before, counted = self._turns.pop(key.index)
        if before is not None:
            await before.wait()
        if said is not None:
            await self._count(said)
        counted.set()
        question.open -= 1
        if question.outcome is None:
            self._update(number)
            return []
        for index, task in question.running.items():
            if index not in self._cancelled:
                self._cancelled.add(index)
                task.cancel()
        return _emptied(question.waiting)

    async def _count(self, said: Said) -> None:
        question = self._questions[said.question]
        async with self._lock:
            vote = None if said.answer is None else await self._label(said.question, said.answer)
        insort(question.ended, (said.ended_at, said.index, Ballot(vote, said.confidence)), key=lambda one: one[:2])
        if question.outcome is None:
            question.outcome = decision(self._rule, self.ballots(said.question), question.most)


def _emptied(waiting: "deque[Key]") -> list[Key]:
    left = list(waiting)
    waiting.clear()
    return left
