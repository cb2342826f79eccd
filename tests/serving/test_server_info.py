"""What a server is asked before a run, and what is said of one that is not the right one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from misbehaving_server import serving

from ATTS.errors import UserError
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import ServerInfo, inspect, new_session


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({"/get_model_info": lambda: web.Response(status=503)}, "not ready"),
        ({"/other": lambda: web.Response()}, "not an SGLang server"),
        ({"/get_model_info": lambda: web.Response(text="<html>")}, "not an SGLang server"),
        ({"/get_model_info": lambda: web.json_response({"model_path": "x/other"})}, "serves x/other, not m"),
    ],
)
def test_a_server_that_is_not_the_right_one_is_named_with_what_it_is(
    pages: dict[str, Callable[[], web.Response]], message: str
) -> None:
    async def ask() -> None:
        made = {path: page() for path, page in pages.items()}
        async with serving(lambda *_: web.Response(), made) as url, new_session(5) as session:
            await inspect(session, url, "draft", "m")

    with pytest.raises(UserError, match=message):
        asyncio.run(ask())


def test_nobody_at_the_port_says_what_to_do() -> None:
    async def ask() -> None:
        async with new_session(5) as session:
            await inspect(session, "http://127.0.0.1:9", "draft", "m")

    with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:9 .*launch_sglang_servers"):
        asyncio.run(ask())


def test_what_a_server_says_of_itself() -> None:
    pages = {
        "/get_model_info": {"model_path": "/models/m", "tokenizer_path": "/models/m"},
        "/v1/models": {"data": [{"id": "m", "max_model_len": 4096}]},
        "/server_info": {"version": "0.5.23", "max_total_num_tokens": 2000},
    }

    async def ask() -> ServerInfo:
        made = {path: web.json_response(page) for path, page in pages.items()}
        async with serving(lambda *_: web.Response(), made) as url, new_session(5) as session:
            return await inspect(session, url, "draft", "m")

    info = asyncio.run(ask())
    assert info == ServerInfo(frozenset({"m", "/models/m"}), "/models/m", "/models/m", 2000, "0.5.23", 2000)
    assert info.returns_ids


@pytest.mark.parametrize(
    ("more", "sends"),
    [
        ({"disable_priority_preemption": True}, True),
        ({}, False),  # it would break off what it writes for a score, and compute it again
        ({"disable_priority_preemption": True, "schedule_low_priority_values_first": True}, False),
        ({"disable_priority_preemption": True, "enable_priority_scheduling": False}, False),
    ],
)
def test_scores_ask_to_be_first_where_the_server_takes_priorities(more: dict[str, bool], sends: bool) -> None:
    sent = []

    def reply(_: int, body: dict[str, Any]) -> web.Response:
        sent.append(body.get("priority"))
        values = [[None, 1, None], [-0.5, 2, None]]
        meta = {"input_token_logprobs": values, "finish_reason": {"type": "length", "length": 1}}
        return web.json_response({"output_ids": [5], "meta_info": meta})

    async def ask() -> None:
        flags = {"version": "0.5.23", "enable_priority_scheduling": True, **more}
        pages = {"/get_model_info": {"model_path": "m"}, "/v1/models": {"data": [{"id": "m"}]}, "/server_info": flags}
        made = {path: web.json_response(page) for path, page in pages.items()}
        async with serving(reply, made) as url, new_session(5) as session:
            info = await inspect(session, url, "target", "m")
            model = SGLangModel(session, url, "target", info, CapacityLimiter(2), 0)
            await model.generate([1, 2], 4, 0.8)
            await model.logprobs([1, 2], 1)

    asyncio.run(ask())
    assert sent == ([0, 1] if sends else [None, None])


def test_a_server_that_does_not_say_its_context_says_the_longest_prompt() -> None:
    """As 0.4.3.post4 of a model of 2,048 tokens; where the context is told, that counts."""
    told = {"version": "0.4.3.post4", "max_total_num_tokens": 65536, "context_length": None, "max_req_input_len": 2042}

    async def ask(card: dict[str, int]) -> int | None:
        pages = {"/get_model_info": {"model_path": "m"}, "/v1/models": {"data": [{"id": "m", **card}]}}
        made = {path: web.json_response(page) for path, page in (pages | {"/get_server_info": told}).items()}
        async with serving(lambda *_: web.Response(), made) as url, new_session(5) as session:
            return (await inspect(session, url, "draft", "m")).context_length

    assert asyncio.run(ask({})) == 2042
    assert asyncio.run(ask({"max_model_len": 2048})) == 2048
