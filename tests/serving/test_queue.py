"""The queue, its gates and schedules, on a virtual clock."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import ExitStatus, ServerFailed
from ATTS.method.chain import Chain
from ATTS.runs.samples import Ended, run_samples
from ATTS.serving.capacity import QUEUE_POSITION, CapacityLimiter
from ATTS.serving.queue import TOGETHER, drain
from ATTS.simulation import virtual
from ATTS.store.records import Key, Keys
from ATTS.tasks.datasets import Question


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=20), st.integers(1, 6), st.lists(st.integers(1, 8), max_size=4))
def test_a_gate_lets_in_no_more_than_its_limit_whatever_becomes_of_it(
    stays: list[float], limit: int, changes: list[int]
) -> None:
    async def run() -> None:
        gate = CapacityLimiter(limit)
        inside = 0
        limits = [limit]

        async def stay(seconds: float) -> None:
            nonlocal inside
            async with gate:
                inside += 1
                assert inside <= max(limits)
                await asyncio.sleep(seconds)
                inside -= 1

        async def change() -> None:
            for new in changes:
                await asyncio.sleep(1)
                limits.append(new)
                gate.limit = new

        await asyncio.gather(change(), *map(stay, stays))
        assert (gate.inside, gate.waiting, gate.left) == (0, 0, len(stays))
        assert gate.occupied() == pytest.approx(sum(stays))

    virtual.run(run())


def test_who_stands_further_ahead_in_the_queue_goes_first() -> None:
    async def run() -> list[int]:
        gate, order = CapacityLimiter(1), []

        async def enter(place: int) -> None:
            QUEUE_POSITION.set(place)
            async with gate:
                order.append(place)
                await asyncio.sleep(1)

        await asyncio.gather(*map(enter, [5, 3, 4, 1, 2]))
        return order

    assert virtual.run(run()) == [5, 1, 2, 3, 4]


def test_who_gives_up_waiting_leaves_no_hole() -> None:
    async def run() -> None:
        gate = CapacityLimiter(1)
        await gate.acquire()
        waiting = [asyncio.create_task(gate.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.release()
        waiting[1].cancel()  # let in and cancelled in the same instant
        await asyncio.sleep(0)
        await waiting[2]
        assert (gate.inside, gate.waiting) == (1, 0)

    virtual.run(run())


def test_items_are_taken_when_there_is_room_and_not_before() -> None:
    taken = finished = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    async def work(item: int) -> None:
        nonlocal finished
        assert taken - finished <= 5  # four in flight and the next one in hand
        await asyncio.sleep(1 + item % 3)
        finished += 1

    assert virtual.run(drain(items(), work, 4)) == 1000
    assert finished == 1000


def test_the_first_failure_ends_the_queue_and_is_raised_as_it_is() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        try:
            await asyncio.sleep(item)
            if item == 2:
                raise ValueError("two")
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="two"):
        virtual.run(drain([1, 2, 3, 4, 5], work, 3))
    assert sorted(ended) == [1, 2, 3, 4]


def spans(schedule: str, in_flight: int) -> dict[tuple[int, int], tuple[float, float]]:
    """When each sample of three questions began and ended; the first of each question takes ten times as long."""
    keys = Keys([Question(i, f"q{i}", "") for i in range(3)], 4)
    found: dict[tuple[int, int], tuple[float, float]] = {}
    numbers = iter(range(100))

    def loop(_: Key):  # type: ignore[no-untyped-def]
        async def end() -> ExitStatus:
            await asyncio.sleep(10 if next(numbers) % 4 == 0 else 1)
            return ExitStatus.TURN_LIMIT

        return Chain(lambda *_: None), end()

    async def keep(ended: Ended) -> None:
        key: Key = ended.key
        found[key.question.index, key.repeat] = (ended.started_at, ended.started_at + ended.seconds)

    virtual.run(run_samples(keys, loop, keep, CapacityLimiter(in_flight), schedule))  # type: ignore[arg-type]
    assert len(found) == 12
    return found


def test_one_queue_has_no_barrier_and_the_published_order_has_one() -> None:
    queue, question = spans("queue", 4), spans("question", 4)
    assert max(end for _, end in queue.values()) < max(end for _, end in question.values()) == 30
    for number in (1, 2):
        begun = min(start for (q, _), (start, _) in question.items() if q == number)
        assert begun == max(end for (q, _), (_, end) in question.items() if q == number - 1)


def test_a_sample_that_fails_ends_alone() -> None:
    statuses: list[ExitStatus] = []

    def loop(key: Key):  # type: ignore[no-untyped-def]
        async def end() -> ExitStatus:
            if key.question.index == 1:
                raise ServerFailed("no")
            return ExitStatus.ANSWERED

        return Chain(lambda *_: None), end()

    async def keep(ended: Ended) -> None:
        statuses.append(ended.status)

    keys = Keys([Question(i, f"q{i}", "") for i in range(3)], 1)
    virtual.run(run_samples(keys, loop, keep, CapacityLimiter(1)))
    assert statuses == [ExitStatus.ANSWERED, ExitStatus.SERVER_FAILED, ExitStatus.ANSWERED]


def test_keys_are_a_sequence_that_is_never_made() -> None:
    questions = [Question(i, f"q{i}", "") for i in range(5)]
    keys = Keys(questions, 3)
    assert [key.index for key in keys] == list(range(15))
    assert keys[-1] == keys[14] == Key(questions[4], 2, 3)
    assert list(keys[3:5]) == [Key(questions[1], 0, 3), Key(questions[1], 1, 3)]
    with pytest.raises(IndexError):
        keys[15]


def test_the_event_loop_turns_while_many_start() -> None:
    """What else waits, such as answers of servers, does not wait for a whole queue to start."""
    started = [0]

    async def work(_: int) -> None:
        started[0] += 1

    async def main() -> list[int]:
        seen: list[int] = []

        async def watch() -> None:
            while True:
                seen.append(started[0])
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await drain(range(1000), work, 1000)
        watching.cancel()
        return seen

    seen = asyncio.run(main())
    assert started == [1000]
    assert max(b - a for a, b in itertools.pairwise(seen)) <= 2 * TOGETHER
