"""The SGLang client against a real HTTP server that misbehaves on purpose."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from misbehaving_server import Reply, serving

from ATTS.errors import ContextFull, ScoreFailed, ServerFailed, UserError
from ATTS.method.types import Generated
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import ServerInfo, new_session
from ATTS.store.records import OWED

INFO = ServerInfo(frozenset({"m"}), "m", None, 100, "0.5.23")


def written(ids: list[int], finish: dict[str, Any], **more: Any) -> web.Response:
    meta = {"prompt_tokens": 2, "completion_tokens": len(ids), "cached_tokens": 1, "finish_reason": finish}
    return web.json_response({"text": "", "output_ids": ids, "meta_info": {**meta, **more}})


LENGTH = {"type": "length", "length": 4}


def generate(reply: Reply, info: ServerInfo = INFO, retries: int = 3, timeout: float = 20.0) -> Generated:
    async def ask() -> Generated:
        async with serving(reply) as url, new_session(timeout) as session:
            model = SGLangModel(session, url, "draft", info, CapacityLimiter(2), retries)
            return await model.generate([1, 2], 4, 0.8)

    return asyncio.run(ask())


def score(values: list[Any], ids: list[int], start: int) -> list[float | None]:
    def reply(_: int, body: dict[str, Any]) -> web.Response:
        assert body["logprob_start_len"] == start - 1
        assert body["sampling_params"]["max_new_tokens"] == 0
        return web.json_response({"meta_info": {"input_token_logprobs": values}})

    async def ask() -> list[float | None]:
        async with serving(reply) as url, new_session(20) as session:
            model = SGLangModel(session, url, "target", INFO, CapacityLimiter(1), 0)
            return (await model.logprobs(ids, start))[0]

    return asyncio.run(ask())


def test_what_is_sent_and_what_comes_back() -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{32}_t0_r0", body.pop("rid"))  # to abort it by
        assert body == {
            "input_ids": [1, 2],
            "sampling_params": {"max_new_tokens": 4, "temperature": 0.8, "top_p": 1.0},
        }
        return written([5, 6, 7, 8], LENGTH)

    result = generate(reply)
    assert (result.ids, result.ended, result.usage.cached_tokens) == ([5, 6, 7, 8], False, 1)


def test_the_end_of_text_token_is_not_part_of_the_chunk() -> None:
    assert generate(lambda *_: written([5, 9], {"type": "stop", "matched": 9})).ids == [5]
    result = generate(lambda *_: written([5], {"type": "stop", "matched": 9}))
    assert (result.ids, result.ended) == ([5], True)


def test_a_release_without_output_ids_gives_them_with_the_log_probabilities() -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response:
        assert body["return_logprob"] is True
        meta = {"finish_reason": LENGTH, "output_token_logprobs": [[-0.1, 5, None], [-0.2, 6, None]]}
        return web.json_response({"text": "", "meta_info": meta})

    old = ServerInfo(frozenset({"m"}), "m", None, None, "0.4.3.post4")
    assert generate(reply, old).ids == [5, 6]


REPLIES: list[object] = [
    *([1], {}, {"error": {"message": "x"}}, {"meta_info": None}, {"meta_info": [1]}, {"meta_info": "text"}),
    *({"output_ids": ids, "meta_info": {"finish_reason": LENGTH}} for ids in ([None], ["5"], [5.5], [-1], "5", 5)),
    *({"output_ids": [5], "meta_info": meta} for meta in ({}, {"finish_reason": None}, {"finish_reason": []})),
    {"output_ids": [5], "meta_info": {"finish_reason": LENGTH, "prompt_tokens": "many"}},
    {"output_ids": [], "meta_info": {"finish_reason": {"type": "abort", "message": "retracted"}}},
]
SCORES: list[object] = [
    *([], [[]], None, "text", [None, None, None], [[None, 2], None, None], {"a": 1}),
    [[None, 2, None], [-0.5, 3, None]],  # one short
    [[None, 2, None], [-0.5, 3, None], [-0.25, 9, None]],  # another token
    *([[None, 2, None], [-0.5, 3, None], [bad, 4, None]] for bad in (None, "x", 0.5, 1e400, [1], {})),
]
FAILURES: list[Callable[[], web.Response]] = [
    # A gateway that has just started knows no server yet.
    lambda: web.Response(status=404, headers={"x-smg-error-code": "model_not_found"}),
    *(lambda status=status: web.Response(status=status) for status in (408, 425, 429, 500, 501, 503, 520, 599)),
    *(lambda body=body: web.json_response(body) for body in REPLIES),
    lambda: web.Response(text="{not json"),
    lambda: web.Response(text='{"meta_info": NaN}'),
]


def passing(failure: Callable[[], web.Response], good: Callable[[], web.Response], failures: int) -> Reply:
    return lambda before, _: failure() if before < failures else good()


async def writes(failure: Callable[[], web.Response]) -> object:
    """What comes of one failure and of two, where one is tried again."""
    async with new_session(20) as session:
        results = []
        for failures in (1, 2):
            async with serving(passing(failure, lambda: written([5], LENGTH), failures)) as url:
                model = SGLangModel(session, url, "draft", INFO, CapacityLimiter(2), 1)
                results += await asyncio.gather(model.generate([1, 2], 4, 0.8), return_exceptions=True)
    first, second = results
    assert isinstance(first, Generated), (failure(), first)
    assert first.ids == [5]
    return second


async def scores(entries: object) -> object:
    good = [[None, 2, None], [-0.5, 3, None], [-0.25, 4, None]]
    replies = [json.dumps({"meta_info": {"input_token_logprobs": one}}) for one in (entries, good)]
    async with new_session(20) as session:
        results = []
        for failures in (1, 2):
            bad, right = (lambda text=text: web.Response(text=text) for text in replies)
            async with serving(passing(bad, right, failures)) as url:
                model = SGLangModel(session, url, "target", INFO, CapacityLimiter(1), 1)
                results += await asyncio.gather(model.logprobs([1, 2, 3, 4], 2), return_exceptions=True)
    first, second = results
    assert not isinstance(first, BaseException), (entries, first)
    assert first[0] == [-0.5, -0.25]
    return second


def test_what_may_pass_is_tried_again_and_fails_the_sample_if_it_lasts() -> None:
    async def all_kinds() -> list[object]:
        return await asyncio.gather(*map(writes, FAILURES))

    for failure, second in zip(FAILURES, asyncio.run(all_kinds()), strict=True):
        assert type(second) is ServerFailed, (failure().text, second)


def test_log_probabilities_that_are_no_score_are_asked_for_again_and_never_become_one() -> None:
    async def all_kinds() -> list[object]:
        return await asyncio.gather(*map(scores, SCORES))

    for entries, second in zip(SCORES, asyncio.run(all_kinds()), strict=True):
        assert isinstance(second, ScoreFailed | ServerFailed), (entries, second)
        assert second.status in OWED


@pytest.mark.parametrize("counters", [True, False])
def test_a_server_that_only_accepts_is_broken_off_and_named_but_not_one_that_works(counters: bool) -> None:
    """One answers nothing while its counters stand still, or its health fails; another works for longer than that."""
    moving = itertools.count()

    async def slow() -> web.Response:
        await asyncio.sleep(3.0)
        return written([5], LENGTH)

    def page(works: bool) -> dict[str, Callable[[], web.Response]]:
        def metrics() -> web.Response:
            tokens = next(moving) if works else 7
            return web.Response(text=f"sglang:num_running_reqs 1\nsglang:num_used_tokens {tokens}\n")

        health = lambda: web.Response(status=200 if works else 503)  # noqa: E731
        return {"/metrics": metrics} if counters else {"/health_generate": health}

    async def ask(reply: Reply, works: bool) -> list[Any]:
        async with serving(reply, page(works)) as url, new_session(20) as session:
            model = SGLangModel(session, url, "target", INFO, CapacityLimiter(2), 0, stall=1.0)
            return await asyncio.gather(*(model.generate([1], 4, 0.8) for _ in range(2)), return_exceptions=True)

    async def both() -> None:
        working, hanging = await asyncio.gather(ask(lambda *_: slow(), True), ask(lambda *_: hang(), False))
        assert [result.ids for result in working] == [[5], [5]]
        for error in hanging:
            assert isinstance(error, UserError)
            assert re.search(r"target server at http://.* hangs \(no sign of life for 1 s", str(error))

    asyncio.run(both())


def test_a_connection_that_breaks_is_tried_again() -> None:
    assert generate(lambda before, _: None if before < 1 else written([5], LENGTH)).ids == [5]


def test_what_stays_broken_fails_the_sample_with_the_reason() -> None:
    with pytest.raises(ServerFailed, match="status 500"):
        generate(lambda *_: web.Response(status=500), retries=1)
    with pytest.raises(ServerFailed, match="no answer within the time limit"):
        generate(lambda *_: hang(), retries=0, timeout=0.5)


async def hang() -> web.StreamResponse:
    await asyncio.sleep(8)
    return web.Response()


def test_a_refused_request_is_not_tried_again() -> None:
    asked = []

    def reply(before: int, _: dict[str, Any]) -> web.Response:
        asked.append(before)
        return web.Response(status=400, text="input is too long")

    with pytest.raises(ServerFailed, match="status 400: input is too long"):
        generate(reply)
    assert asked == [0]


def test_a_server_that_has_gone_ends_the_run_and_is_named() -> None:
    async def ask() -> None:
        async with new_session(5) as session:
            async with serving(lambda *_: written([5], LENGTH)) as url:
                model = SGLangModel(session, url, "target", INFO, CapacityLimiter(1), 1)
            await model.generate([1], 4, 0.8)

    with pytest.raises(UserError, match=r"the target server at http://127\.0\.0\.1:\d+ has gone"):
        asyncio.run(ask())


def test_a_full_context_is_noticed_before_anything_is_sent() -> None:
    def never(*_: Any) -> web.Response:
        raise AssertionError("sent")

    small = ServerInfo(frozenset({"m"}), "m", None, 3, "0.5.23")
    with pytest.raises(ContextFull):
        generate(never, small)


def test_the_last_chunk_is_cut_to_the_context_and_then_the_context_is_full() -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response:
        assert body["sampling_params"]["max_new_tokens"] == 2
        return written([5, 6], LENGTH)

    with pytest.raises(ContextFull, match="filled"):
        generate(reply, ServerInfo(frozenset({"m"}), "m", None, 5, "0.5.23"))


def test_a_score_drops_the_empty_first_entry_and_keeps_the_first_token() -> None:
    assert score([[None, 2, None], [-0.5, 3, None], [-0.25, 4, None]], [1, 2, 3, 4], 2) == [-0.5, -0.25]


def compared(top: Any) -> tuple[list[float | None], list[float | None]]:
    def reply(_: int, body: dict[str, Any]) -> web.Response:
        assert body["top_logprobs_num"] == 1
        assert body["logprob_start_len"] == 1
        meta = {"input_token_logprobs": [[None, 2, None], [-0.5, 3, None], [-0.25, 4, None]]}
        return web.json_response({"meta_info": meta | ({} if top is None else {"input_top_logprobs": top})})

    async def ask() -> tuple[list[float | None], list[float | None]]:
        async with serving(reply) as url, new_session(20) as session:
            model = SGLangModel(session, url, "target", INFO, CapacityLimiter(1), 0)
            own, best, _ = await model.logprobs_and_best([1, 2, 3, 4], 2)
            return own, best

    return asyncio.run(ask())


def test_the_likeliest_tokens_come_with_the_score_in_one_request() -> None:
    assert compared([None, [[-0.1, 9, None]], [[-0.25, 4, None]]]) == ([-0.5, -0.25], [-0.1, -0.25])


@pytest.mark.parametrize("top", [None, [None, None, [[-0.25, 4, None]]], [None, [], []], [None, 3, 4]])
def test_a_server_that_does_not_tell_the_likeliest_tokens_fails_the_score(top: Any) -> None:
    with pytest.raises(ScoreFailed, match="no likeliest tokens"):
        compared(top)


def test_empty_or_negative_ids_are_never_sent() -> None:
    """They take a real server down for everybody."""

    async def ask(ids: list[int]) -> None:
        async with new_session(5) as session:
            model = SGLangModel(session, "http://127.0.0.1:9", "draft", INFO, CapacityLimiter(1), 0)
            await model.generate(ids, 4, 0.8)

    for ids in ([], [1, -1]):
        with pytest.raises(ValueError, match="token ids"):
            asyncio.run(ask(ids))


def test_no_more_requests_are_in_flight_than_the_limit_and_waiting_counts_as_queueing() -> None:
    now = most = 0

    async def slow() -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1
        return written([5], LENGTH)

    async def ask() -> list[Generated]:
        async with serving(lambda *_: slow()) as url, new_session(20) as session:
            model = SGLangModel(session, url, "draft", INFO, CapacityLimiter(3), 0)
            return await asyncio.gather(*(model.generate([1], 4, 0.8) for _ in range(9)))

    results = asyncio.run(ask())
    assert most == 3
    assert sum(result.usage.queue_seconds for result in results) > sum(0.1 * k for k in (1, 2)) * 3 * 0.8
    assert all(result.usage.serve_seconds >= 0.1 for result in results)
