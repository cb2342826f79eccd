"""One queue over all samples: no barrier between questions, repeats or turns."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def drain(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], in_flight: int) -> None:
    """Works on every item, at most ``in_flight`` at a time, in order of starting.

    The first exception cancels the rest and is raised as it is. Memory goes with what is in flight:
    an item is taken from ``items`` when a worker is free for it.
    """
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
