"""Which sample starts next where decided questions need no more: the queue alone, on a virtual clock."""

import asyncio
import math
from collections import Counter
from typing import Any

from chances import chance
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain
from ATTS.runs.samples import Ended, run_samples
from ATTS.runs.stopping import Stopping
from ATTS.serving.capacity import CapacityLimiter
from ATTS.simulation import virtual
from ATTS.store.records import Key, Keys
from ATTS.tasks.datasets import Question
from ATTS.votes.stop import StopName, decision, outcome, rule
from ATTS.votes.vote import Ballot

REPEATS = 16


async def as_it_is(_: int, answer: str) -> str:
    return answer


class Played:
    """Runs whose samples take drawn seconds and give drawn answers, on a virtual clock."""

    def __init__(self, questions: int, seed: int, sure: float, stop: StopName = "beta", **more: Any) -> None:
        self.seed, self.sure = seed, sure
        self.keys = Keys([Question(i, f"q{i}", "") for i in range(questions)], REPEATS)
        self.stop = Stopping(rule(stop), self.keys, as_it_is, **more)
        self.kept: dict[int, Ended] = {}
        self.started: list[int] = []

    def answer(self, key: Key) -> str | None:
        dice = chance(self.seed, key.question.index, key.repeat)
        return None if dice.random() < 0.1 else "A" if dice.random() < self.sure else dice.choice("BC")

    def loop(self, key: Key):  # type: ignore[no-untyped-def]
        chain = Chain(lambda *_: None)
        self.started.append(key.index)

        async def end() -> ExitStatus:
            await asyncio.sleep(chance("time", self.seed, key.question.index, key.repeat).expovariate(1))
            chain.answer = self.answer(key)
            return ExitStatus.ANSWERED if chain.answer else ExitStatus.TURN_LIMIT

        return chain, end()

    async def keep(self, ended: Ended) -> None:
        assert ended.key.index not in self.kept
        self.kept[ended.key.index] = ended

    def run(self, in_flight: int, schedule: str = "queue") -> None:
        limit = CapacityLimiter(in_flight)
        virtual.run(run_samples(self.stop.owed, self.loop, self.keep, limit, schedule, stop=self.stop))  # type: ignore[arg-type]

    def of(self, question: int) -> list[Ended]:
        return [one for one in self.kept.values() if one.key.question.index == question]


drawn = st.tuples(st.integers(1, 12), st.integers(0, 999), st.floats(0, 1), st.integers(1, 60))


@given(drawn, st.sampled_from(["majority", "beta", "asc", "esc"]), st.sampled_from(["queue", "question"]))
def test_every_sample_ends_once_and_a_question_at_its_decision(
    of: tuple[int, int, float, int], stop: StopName, schedule: str
) -> None:
    """Whatever is in flight: what ended by itself decides by the rule; what did not is stopped, and only of a decided
    question; nothing that began after a decision is of its question."""
    questions, seed, sure, in_flight = of
    played = Played(questions, seed, sure, stop)
    played.run(in_flight, schedule)
    assert len(played.kept) == questions * REPEATS
    for number in range(questions):
        found = played.of(number)
        ended = sorted((e.started_at + e.seconds, e) for e in found if e.status is not ExitStatus.STOPPED)
        ballots = [Ballot(e.chain.answer) for _, e in ended]
        decided = decision(rule(stop), ballots, REPEATS)
        stopped = [e for e in found if e.status is ExitStatus.STOPPED]
        if not stopped:
            assert len(ended) == REPEATS
            continue
        assert decided is not None
        at = ended[decided.used - 1][0]
        assert all(math.isclose(when, at) for when, _ in ended[decided.used :])  # at the very moment
        for one in stopped:
            began = one.key.index in played.started
            assert not began or one.started_at <= at
            assert (one.reason == "its question was decided") is began


def test_while_other_questions_wait_no_sample_starts_that_could_be_one_too_many() -> None:
    """With room for four: of a question whose samples all agree no more than four start."""
    played = Played(8, 1, 1.0)
    played.answer = lambda key: "A"  # type: ignore[method-assign,assignment] # noqa: ARG005
    played.run(4)
    began = Counter(index // REPEATS for index in played.started)
    assert [began[number] for number in range(6)] == [4] * 6
    assert began[7] >= 4  # the last ones have room that nobody else needs


def test_all_samples_start_at_once_where_no_other_question_waits() -> None:
    played = Played(1, 1, 0.9)
    played.run(REPEATS)
    assert {one.started_at for one in played.kept.values()} == {0.0}
    assert Counter(one.status for one in played.kept.values())[ExitStatus.STOPPED] > 0


def test_freed_room_goes_to_other_questions() -> None:
    """The same samples, and the run is over sooner than the rule saves samples."""
    whole, stopped = Played(20, 3, 0.9, "none"), Played(20, 3, 0.9)
    for played in (whole, stopped):
        played.run(16)
    spans = [max(one.started_at + one.seconds for one in played.kept.values()) for played in (whole, stopped)]
    assert spans[1] < 0.6 * spans[0]


def test_of_many_questions_the_next_sample_is_found_at_once() -> None:
    """Each question is looked at a few times, not once a sample of every other one."""

    class Counting(dict):  # type: ignore[type-arg]
        looks = 0

        def __getitem__(self, number: int) -> Any:
            Counting.looks += 1
            return super().__getitem__(number)

    played = Played(400, 5, 0.8)
    played.stop._questions = Counting(played.stop._questions)
    played.run(16)
    assert Counting.looks < 20 * 400 * REPEATS


# On servers


def test_the_outcome_of_all_samples_is_the_majority_without_a_rule() -> None:
    played = Played(5, 2, 0.6, "none")
    played.run(8)
    for number in range(5):
        ballots = [Ballot(one.chain.answer) for one in played.of(number)]
        assert not outcome(rule("none"), ballots).stopped
        assert all(one.status is not ExitStatus.STOPPED for one in played.of(number))
