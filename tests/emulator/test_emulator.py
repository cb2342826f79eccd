"""The emulated server: faults, time, deadly input, older releases. What it shares with a real one is in
test_emulator_contract.py."""

import asyncio
import contextlib
import time
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.emulator import RELEASES, Ask, Fault, RandomText, Scripted, Served, Server, Timing, Written
from ATTS.emulator.engine import Engine, Job
from ATTS.emulator.radix import RadixCache
from ATTS.errors import ContextFull, ScoreFailed, ServerFailed, UserError
from ATTS.method.score import perplexity
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer

CONTENT = Scripted(lambda ask: Written(f"{ask.role} says 7"), lambda ask, start: [-0.5] * len(ask.ids[start:]))
PROMPT = [5, 6, 7, 8]


def served(**changes: Any) -> Served:
    return Served(**{"role": "target", "name": "model", "content": CONTENT, "context_length": 64} | changes)


async def client(session: aiohttp.ClientSession, server: Server, retries: int = 0) -> SGLangModel:
    info = await inspect(session, server.url, "target", "model")
    return SGLangModel(session, server.url, "target", info, CapacityLimiter(8), retries)


def with_client(emulated: Served, use: Any, retries: int = 0, timeout: float = 20) -> Any:  # the result of use(model)
    async def run() -> Any:
        async with Server(emulated) as server, new_session(timeout) as session:
            return await use(await client(session, server, retries))

    return asyncio.run(run())


def test_what_a_content_says_is_what_a_client_gets() -> None:
    async def use(model: SGLangModel) -> None:
        written = await model.generate(PROMPT, 20, 0.8)
        assert ModelTokenizer(served().tokenizer).decode(written.ids) == "target says 7"
        assert written.ended
        cut = await model.generate(PROMPT, 2, 0.8)
        assert not cut.ended
        assert len(cut.ids) == 2
        values, _ = await model.logprobs(PROMPT, 1)
        assert values == [-0.5] * 3

    with_client(served(), use)


@pytest.mark.parametrize("kind", ["status,at=0,status=429", "reset,at=0", "half,at=0", "bad_json,at=0"])
def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_named(kind: str) -> None:
    async def use(model: SGLangModel) -> list[int]:
        return (await model.generate(PROMPT, 20, 0.8)).ids

    assert with_client(served(faults=(Fault.parse(kind),)), use, retries=1)
    lasting = Fault.parse(kind.replace("at=0", "every=1"))
    with pytest.raises(ServerFailed, match="target server"):
        with_client(served(faults=(lasting,)), use, retries=1)


def test_a_content_that_knows_no_other_tokens_refuses_to_compare_and_one_that_does_is_read() -> None:
    async def use(model: SGLangModel) -> tuple[list[float | None], list[float | None]]:
        own, best, _ = await model.logprobs_and_best(PROMPT, 1)
        return own, best

    with pytest.raises(ServerFailed, match="knows no probabilities of other tokens"):
        with_client(served(), use)
    own, best = [-0.5, -2.0, -1.0], [-0.5, -0.2, -1.0]
    content = Scripted(lambda _: Written("x"), lambda *_: own, finder=lambda *_: best)
    assert with_client(served(content=content), use) == (own, best)
    own, best = with_client(served(content=RandomText(3)), use)
    assert all(there <= likeliest <= 0 for there, likeliest in zip(own, best, strict=True))


@pytest.mark.parametrize("kind", ["nan", "none", "short"])
def test_spoilt_log_probabilities_never_become_a_score(kind: str) -> None:
    async def use(model: SGLangModel) -> float:
        values, _ = await model.logprobs(PROMPT, 1)
        return perplexity(values, 3)

    with pytest.raises((ScoreFailed, ServerFailed)):
        with_client(served(faults=(Fault.parse(f"{kind},every=1"),)), use)


def test_a_server_that_hangs_runs_into_the_time_limit() -> None:
    async def use(model: SGLangModel) -> None:
        await model.generate(PROMPT, 20, 0.8)

    with pytest.raises(ServerFailed, match="time limit"):
        with_client(served(faults=(Fault.parse("hang,every=1"),)), use, timeout=0.3)


def test_a_loading_server_is_not_ready_yet() -> None:
    async def run() -> None:
        async with Server(served(loading_seconds=60)) as server, new_session(5) as session:
            await inspect(session, server.url, "target", "model")

    with pytest.raises(UserError, match="may still be loading"):
        asyncio.run(run())


@pytest.mark.parametrize(
    "body", [{"text": ""}, {"input_ids": [-1]}, {"input_ids": [10**6]}], ids=["empty", "negative", "foreign"]
)
def test_deadly_input_takes_the_server_down(body: dict[str, Any]) -> None:
    async def run() -> None:
        async with Server(served()) as server, aiohttp.ClientSession() as session:
            with contextlib.suppress(aiohttp.ClientError):
                await session.post(f"{server.url}/generate", json=body)
            await asyncio.sleep(0.2)
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(f"{server.url}/get_model_info")

    asyncio.run(run())


def test_an_older_release_differs_as_measured() -> None:
    old = RELEASES["0.4.3.post4"]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "so far"}]
    seen: list[Ask] = []

    def write(ask: Ask) -> Written:
        seen.append(ask)
        return Written(" 1")

    async def run() -> None:
        content = Scripted(write, CONTENT.scorer)
        async with Server(served(release=old, content=content)) as server, aiohttp.ClientSession() as session:

            async def post(path: str, **body: Any) -> tuple[int, Any]:
                async with session.post(server.url + path, json=body) as response:
                    return response.status, await response.json()

            status, reply = await post("/generate", input_ids=PROMPT, sampling_params={"max_new_tokens": 0})
            assert status == 200
            assert "output_ids" not in reply
            assert reply["meta_info"]["completion_tokens"] == 1
            assert (await post("/generate", input_ids=PROMPT, sampling_params={"nonsense": 1}))[0] == 500
            assert (await post("/generate", input_ids=[]))[0] == 500
            colder = {"temperature": -1, "max_new_tokens": 4}
            assert (await post("/generate", input_ids=PROMPT, sampling_params=colder))[0] == 200
            assert (await post("/generate", input_ids=PROMPT, return_logprob=True, logprob_start_len=4))[0] == 400
            assert (await session.get(f"{server.url}/server_info")).status == 404
            assert (await post("/generate", input_ids=PROMPT * 15, sampling_params={"max_new_tokens": 1}))[0] == 400
            async with session.post(f"{server.url}/abort_request", json={"rid": "x"}) as response:
                assert response.status == 404
            for path, status in (("/generate", 422), ("/v1/chat/completions", 500)):
                for raw in (b"[1]", b"{bad"):
                    async with session.post(server.url + path, data=raw) as response:
                        assert response.status == status
            await post("/v1/chat/completions", messages=messages, max_tokens=4)
            assert seen[-1].assistant == "so far"

    asyncio.run(run())


@pytest.mark.parametrize(("release", "longest"), [("0.5.23", 64), ("0.4.3.post4", 58)])
def test_a_client_sends_nothing_that_the_release_would_refuse_for_its_length(release: str, longest: int) -> None:
    """The older one says the longest prompt that it takes and not its context: a chain that fills that ends there."""

    async def use(model: SGLangModel) -> None:
        assert model.info.context_length == longest
        await model.generate([5] * (longest - 2), 1, 0.8)
        await model.logprobs([5] * (longest - 2), longest - 8)
        for refused in (model.generate([5] * (longest - 1), 8, 0.8), model.logprobs([5] * longest, longest - 8)):
            with pytest.raises(ContextFull):
                await refused

    with_client(served(release=RELEASES[release]), use)


def test_a_chain_that_fills_the_context_is_refused_with_400() -> None:
    async def use(model: SGLangModel) -> None:
        await model.generate(PROMPT * 20, 20, 0.8)

    with pytest.raises(ContextFull):
        with_client(served(), use)


def run_engine(timing: Timing, jobs: int, tokens: int) -> float:
    """Seconds until ``jobs`` requests of ``tokens`` tokens each, all at once, are served."""

    async def run() -> float:
        engine = Engine(timing)
        began = time.perf_counter()
        await asyncio.gather(*(engine.run(Job(range(10), 0, range(tokens))) for _ in range(jobs)))
        await engine.stop()
        return time.perf_counter() - began

    return asyncio.run(run())


def test_a_batch_takes_as_long_as_its_steps_and_a_full_server_lets_others_queue() -> None:
    """At least as long as the model says: a busy machine can only add to that."""
    timing = Timing(step_seconds=0.002, prefill_tokens_per_second=1e6)
    assert run_engine(timing, 1, 50) >= 0.1
    assert run_engine(timing, 8, 50) >= 0.1
    queueing = Timing(step_seconds=0.002, prefill_tokens_per_second=1e6, max_running=2)
    assert run_engine(queueing, 8, 50) >= 0.4
    slower = Timing(step_seconds=0.002, step_seconds_per_request=0.002, prefill_tokens_per_second=1e6)
    assert run_engine(slower, 4, 25) >= 25 * 0.01
    prefill = Timing(step_seconds=0, prefill_tokens_per_second=100)
    assert run_engine(prefill, 3, 1) >= 0.3


def test_a_request_keeps_its_place_until_its_last_token() -> None:
    """One place in the batch: each begins behind the end of the one before, and the third, given up in the
    middle, makes way for the fourth."""

    async def run() -> None:
        engine = Engine(Timing(step_seconds=0.001, max_running=1))
        ended: list[str] = []

        async def ask(name: str, tokens: int) -> None:
            await engine.run(Job([1], 0, range(tokens)))
            ended.append(name)

        given_up = asyncio.gather(ask("a", 4), ask("b", 3), asyncio.wait_for(ask("c", 10**6), 0.2), ask("d", 0))
        with pytest.raises(TimeoutError):
            await given_up
        await engine.run(Job([1], 0, []))
        assert ended == ["a", "b", "d"]
        assert 7 <= engine.spent.written < 10**6
        await engine.stop()

    asyncio.run(run())


def test_a_request_that_is_given_up_leaves_room_for_the_next() -> None:
    async def run() -> None:
        engine = Engine(Timing(step_seconds=1.0, max_running=1))
        first = asyncio.create_task(engine.run(Job([1], 0, range(1000))))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(engine.run(Job([1], 0, [])))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait_for(second, 10)
        assert not engine.running
        await engine.stop()

    asyncio.run(run())


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=12), st.lists(st.integers(0, 2), max_size=12))
def test_the_cache_knows_the_longest_common_beginning(prompts: list[list[int]], asked: list[int]) -> None:
    cache = RadixCache(10_000)
    for prompt in prompts:
        cache.insert(prompt)
    common = [next((i for i, (a, b) in enumerate(zip(p, asked, strict=False)) if a != b), None) for p in prompts]
    lengths = [min(len(p), len(asked)) if c is None else c for p, c in zip(prompts, common, strict=True)]
    assert cache.match(asked) == max(lengths, default=0)


def test_a_full_cache_drops_the_ends_of_what_was_used_longest_ago() -> None:
    cache = RadixCache(6)
    cache.insert([1, 1, 1, 1])
    cache.insert([2, 2, 2, 2])
    assert cache.match([2, 2, 2, 2]) == 4
    assert cache.match([1, 1, 1, 1]) == 2


def test_a_fault_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="no fault 'explode'"):
        Fault.parse("explode,at=1")
    with pytest.raises(ValueError, match="no 'when'"):
        Fault.parse("delay,when=1")
    with pytest.raises(ValueError, match="speed"):
        Timing(speed=-1)
