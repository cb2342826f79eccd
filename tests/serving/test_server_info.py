"""What a server is asked before a run, and what is said of one that is not the right one."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from misbehaving_server import serving

from ATTS.errors import UserError
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
