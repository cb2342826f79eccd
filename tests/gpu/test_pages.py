"""A prefix cache of pages of 64 tokens (B200): what fills no page is no sign of a full memory."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.emulator import Scripted, Served, Server, Timing, Written
from ATTS.flags import make
from ATTS.method.chain import CacheStats, Chain
from ATTS.method.types import Stage, Usage
from ATTS.runs import models
from ATTS.runs.settings import AsyncSettings
from ATTS.serving import limits
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.server_info import new_session
from ATTS.tasks import datasets

CONTENT = Scripted(lambda _: Written(" 2 3 4" * 8, "length"), lambda ask, start: [-0.5] * len(ask.ids[start:]))


async def chains(page: int) -> tuple[CacheStats, list[Usage]]:
    """What one chain of six turns, written and scored by the target, leaves: its statistics and usages."""
    timing = Timing(kv_tokens=10**6, speed=0, page=page)
    async with (
        Server(Served(role="target", name="demo-target", content=CONTENT, timing=timing)) as server,
        new_session(20) as session,
    ):
        pair = {"small_model_name": "demo-draft", "eval_model_name": "demo-target", "dataset_name": "demo"}
        chosen = make(AsyncSettings, **pair, eval_model_url=server.url, evalator_max_tokens=24)
        model = await models.target(session, chosen.target, chosen.requests, 1, True)
        view = model.reader(datasets.load("demo", max_problems=1)[0])
        chain = Chain(lambda *_: None, view)
        for turn in range(6):
            await chain.extend(view, turn, Stage.CONTINUE)
            await chain.score(view, turn)
        return model.memory, [event.usage for event in chain.history]


@pytest.mark.parametrize("page", [1, 16, 64])
def test_nothing_counts_as_forgotten_where_the_cache_holds_all_of_its_pages(page: int) -> None:
    memory, used = asyncio.run(chains(page))
    assert memory.page == page
    assert all(usage.cached_tokens % page == 0 for usage in used)
    assert memory.known == memory.cached > 0


def test_taken_for_a_cache_of_single_tokens_it_would_look_too_full() -> None:
    """Of 64-token pages about 32 tokens a request are lost: with chunks of 24, the limits would be cut."""
    _, used = asyncio.run(chains(64))
    single = CacheStats()
    for before, usage in zip([None, *used], used, strict=False):
        single.count(min(before.prompt_tokens, usage.prompt_tokens - 24) if before else 0, usage.cached_tokens)
    assert 1 - single.cached / single.known > limits.FORGOTTEN[1]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1), st.sampled_from([1, 16, 64]))
def test_what_is_cached_never_exceeds_what_can_be(requests: Sequence[tuple[int, int]], page: int) -> None:
    memory = CacheStats(page=page)
    for known, cached in requests:
        memory.count(known, cached)
    assert 0 <= memory.cached <= memory.known <= sum(known for known, _ in requests)
    assert memory.known % page == 0


def test_the_report_of_a_run_says_how_large_a_page_is() -> None:
    class Told:
        """A server that says nothing of its load."""

        role = "target"

    for page in (1, 64):
        gate = CapacityLimiter(4)
        report = limits.Server(Told(), gate, CacheStats(100, 90, page), adaptive=False).report(1.0, None)  # type: ignore[arg-type]
        assert report.get("page_tokens", 1) == page
        assert report["forgotten"] == pytest.approx(0.1)
