"""Every kind of request that is sent to have kernels compiled is one that a server answers."""

import asyncio
from typing import Any

import pytest
import warm_kernels
from warm_kernels import Addresses, kinds, main

from ATTS.emulator import Scripted, Served, Server, Timing, Written
from ATTS.errors import UserError
from ATTS.flags import make

CONTENT = Scripted(
    writer=lambda _: Written(" 2", "length"),
    scorer=lambda ask, start: [-0.5] * len(ask.ids[start:]),
    teller=lambda _: {"2": 1.0},
    finder=lambda _, own: own,
)


def served(role: str, **more: Any) -> Served:
    return Served(role=role, name=f"demo-{role}", content=CONTENT, timing=Timing(kv_tokens=10**6, speed=0), **more)


async def warmed(**target: Any) -> str:
    async with Server(served("draft")) as draft, Server(served("target", **target)) as other:
        return await main(make(Addresses, draft=draft.url, target=other.url))


def test_each_kind_is_sent_to_both_servers_twice_and_timed() -> None:
    lines = asyncio.run(warmed()).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(kinds(4096, 0))
    for line in lines[2:]:
        assert len([float(cell) for cell in line.split("|")[2:-1]]) == 4


def test_what_a_server_refuses_ends_it_with_the_servers_words() -> None:
    with pytest.raises(UserError, match=r"the target server at .* refused a request: .*context"):
        asyncio.run(warmed(context_length=80))


@pytest.mark.parametrize("context", [256, 4096, 131072])
def test_prompts_fit_the_context_and_come_from_the_cache_only_where_they_should(context: int) -> None:
    first, again = (
        [tuple(body["input_ids"]) for bodies in kinds(context, number).values() for body in bodies]
        for number in (0, 1000)
    )
    assert len(set(first + again)) == 2 * len(first)
    for prompt in first:
        assert 0 < len(prompt) + warm_kernels.TOKENS < context or len(prompt) == context // 2
    extended = [(short, long) for short in first for long in first if short != long and long[: len(short)] == short]
    assert len(extended) == 1
