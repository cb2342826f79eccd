"""One queue over all samples: no barrier between questions, repeats or turns."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ATTS.serving.capacity import QUEUE_POSITION, CapacityLimiter

Item = TypeVar("Item")
TOGETHER = 8  # many that start at once would hold the event loop, and end at once again


async def drain(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[None]],
    in_flight: int | CapacityLimiter,
    first_place: int = 0,
) -> int:
    """Works on every item, at most ``in_flight`` at a time, in order of starting. Returns how many there were.

    The first exception cancels the rest and is raised as it is. Memory goes with what is in flight:
    an item is taken from ``items`` when there is room for it. Items that came earlier go first
    wherever they meet a limit; places are counted from ``first_place``.
    """
    room = in_flight if isinstance(in_flight, CapacityLimiter) else CapacityLimiter(in_flight)
    place = first_place

    async def one(item: Item) -> None:
        try:
            await work(item)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                await room.acquire()
                QUEUE_POSITION.set(place)  # the new task inherits it
                group.create_task(one(item))
                place += 1
                if place % TOGETHER == 0:
                    await asyncio.sleep(0)
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return place - first_place
