"""The rules by which limits are found while a run goes on, each by itself, on a virtual clock."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.method.chain import CacheStats
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.limits import (
    FILL,
    MAX,
    MAX_FILL,
    MIN_FILL,
    MIN_SHARE,
    POLL_SECONDS,
    SPARE,
    START,
    Lengths,
    Limits,
    Server,
)
from ATTS.serving.load import Load
from ATTS.serving.server_info import ServerInfo
from ATTS.simulation import virtual


class Watched:
    """A model whose server says what it is told to."""

    def __init__(self, said: Load | None, kv_tokens: int | None = None) -> None:
        self.role, self.said = "target", said
        self.info = ServerInfo(frozenset({"m"}), "m", None, None, "0.5.23", kv_tokens)

    async def load(self) -> Load | None:
        return self.said


def load(running: float = 10, queued: float = 0, usage: float = 0.1, retracted: float = 0) -> Load:
    return Load(running, queued, usage, retracted)


def server(said: Load | None, limit: int = START, adaptive: bool = True) -> Server:
    return Server(Watched(said), CapacityLimiter(limit), CacheStats(), adaptive)


def after_a_round(one: Server, known: int = 1000, cached: int = 1000, away: int = 0) -> int:
    """The limit after a look and as many requests as it lets in, of whose prompts so much was still cached."""

    async def run() -> int:
        await one.look()
        one.gate.left += one.gate.limit
        one.memory.count(known, cached)
        one.adapt(away)
        return one.gate.limit

    return virtual.run(run())


def test_as_many_chains_as_fit_the_memory_are_let_in_but_for_those_that_are_away() -> None:
    """Ten chains take a tenth of the memory, so nine tenths hold 90 and a little more each round."""
    assert after_a_round(server(load())) == int((FILL + 0.02) * 100)
    assert after_a_round(server(load()), away=40) == int((FILL + 0.02) * 100) - 40
    assert after_a_round(server(load()), away=89) == int(MIN_SHARE * int((FILL + 0.02) * 100))
    assert after_a_round(server(load(running=1, usage=0.9))) == START
    assert after_a_round(server(load(running=1, usage=1e-6))) == MAX


@pytest.mark.parametrize(
    ("said", "cached"),
    [(load(), 800), (load(retracted=3), 1000), (load(queued=40), 1000)],
    ids=["chains are forgotten", "requests are thrown out", "requests queue inside"],
)
def test_less_of_the_memory_is_used_when_it_is_too_much(said: Load, cached: int) -> None:
    one = server(load())
    after_a_round(one)
    one.model.said = said  # type: ignore[attr-defined]
    assert after_a_round(one, cached=cached) == int(0.9 * (FILL + 0.02) / (one.size or 0))


@given(st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 1000), st.floats(0, 50)), max_size=60))
def test_whatever_a_server_says_the_limit_stays_in_its_bounds(looks: list[tuple[float, int, float]]) -> None:
    one = server(load())
    for usage, cached, queued in looks:
        one.model.said = load(usage=usage, queued=queued)  # type: ignore[attr-defined]
        assert START <= after_a_round(one, cached=cached) <= MAX
        assert MIN_FILL <= one.fill <= MAX_FILL


@pytest.mark.parametrize(
    ("a_second", "most"), [(0.1, 30), (0.5, 150), (50, 100)], ids=["a core", "two cores", "as much as fits"]
)
def test_no_more_are_in_flight_than_are_answered_in_half_of_the_time_limit(a_second: float, most: int) -> None:
    """A server that answers so many requests a second, whatever their number, as one that is busy computing does; 100
    fit its memory. Each may take 600 s."""

    async def run() -> tuple[float, int]:
        one = Server(Watched(load(usage=0.09)), CapacityLimiter(START), CacheStats(), True, patience=300)
        took: list[float] = []
        clock = asyncio.get_running_loop().time

        async def ask() -> None:
            async with one.gate:
                began, done = clock(), 0.0
                while done < 1:
                    await asyncio.sleep(0.5)
                    done += 0.5 * a_second / one.gate.inside
                took.append(clock() - began)

        async def watch() -> None:
            while True:
                await one.look()
                one.adapt(0)
                await asyncio.sleep(POLL_SECONDS)

        watching = asyncio.create_task(watch())
        async with asyncio.TaskGroup() as group:
            for _ in range(250):
                group.create_task(ask())
        watching.cancel()
        return max(took), one.gate.most_inside

    slowest, inside = virtual.run(run())
    assert slowest < 600
    assert 0.9 * min(most, 100) <= inside <= 1.1 * min(most, 100) + 4


def test_in_the_middle_of_a_round_and_between_too_little_and_too_much_nothing_is_concluded() -> None:
    async def run() -> None:
        one = server(load())
        await one.look()
        one.memory.count(1000, 0)
        one.adapt(0)
        assert one.fill == FILL

    virtual.run(run())
    between = server(load())
    after_a_round(between, cached=950)
    assert between.fill == FILL


def test_where_a_server_tells_nothing_the_limit_grows_if_somebody_waits_and_is_cut_if_chains_are_forgotten() -> None:
    one = server(None, limit=40)
    assert after_a_round(one) == 40  # nobody was kept waiting
    one.gate.kept_waiting = True
    assert after_a_round(one) == 50
    assert after_a_round(one) == 50
    assert after_a_round(one, cached=500) == 40
    assert after_a_round(one, cached=950) == 40
    for _ in range(30):
        after_a_round(one, cached=0)
    assert one.gate.limit == START // 2


def test_a_limit_that_a_person_set_stays() -> None:
    assert after_a_round(server(load(usage=0.9), limit=33, adaptive=False), cached=0) == 33


@given(st.lists(st.integers(1, 5000), max_size=200), st.integers(0, 50))
def test_chains_in_flight_are_as_long_as_half_of_those_that_end_weighted_by_length(ends: list[int], way: int) -> None:
    lengths = Lengths(5000)
    for tokens in ends:
        lengths.add(tokens)
    every = ends + [5000] * max(1, way)
    assert lengths.in_flight(way) == pytest.approx(sum(n * n for n in every) / (2 * sum(every)))
    assert lengths.in_flight(way) <= 2500


def looking(limits: Limits, seconds: float, **server: Any) -> int:
    """The limit on samples after so many seconds of looking at a server."""

    async def run() -> int:
        kv, asked = server.get("kv_tokens"), server.get("limit", 0)
        gate = limits.gate(asked)
        limits.add(Watched(server.get("said"), kv), gate, CacheStats(), adaptive=asked == 0)
        async with limits:
            for _ in range(round(seconds / POLL_SECONDS)):
                gate.left += server.get("done", 0)
                await asyncio.sleep(POLL_SECONDS)
            return limits.samples.limit

    return virtual.run(run())


def test_samples_in_flight_are_those_that_fit_the_smallest_memory_and_some_to_step_in() -> None:
    """Of chains of at most 1,000 tokens those in flight have 500."""
    assert looking(Limits(longest=1000), 1, kv_tokens=100_000) == int(SPARE * FILL * 100_000 / 500)
    assert looking(Limits(longest=1000), 1, kv_tokens=100) == START
    assert looking(Limits(7, longest=1000), 1, kv_tokens=100_000) == 7


def test_with_fixed_limits_on_requests_there_are_as_many_samples_as_requests() -> None:
    assert looking(Limits(), 1, limit=23) == 23


def test_without_a_memory_to_fill_samples_double_until_a_server_has_requests_waiting() -> None:
    async def run() -> list[int]:
        limits = Limits()
        model, gate = Watched(None), limits.gate(0)
        limits.add(model, gate, CacheStats(), adaptive=True)
        waiting = [asyncio.create_task(limits.samples.acquire()) for _ in range(1000)]
        seen = []
        async with limits:
            for second in range(5):
                if second == 3:
                    gate.limit = 1
                    held = [asyncio.create_task(gate.acquire()) for _ in range(2)]
                await asyncio.sleep(POLL_SECONDS)
                gate.left += 2 * limits.samples.limit
                seen.append(limits.samples.limit)
        for task in (*waiting, *held):
            task.cancel()
        return seen

    assert virtual.run(run()) == [START, 2 * START, 4 * START, 8 * START, 8 * START]
