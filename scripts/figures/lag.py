"""How late the event loop calls a task that wants to be called every 10 ms."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK = 0.01


@asynccontextmanager
async def lag() -> AsyncIterator[list[float]]:
    """Of the block: seconds, in ascending order when it has ended."""
    found: list[float] = []

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(TICK)
            found.append(time.perf_counter() - asked - TICK)

    watching = asyncio.create_task(watch())
    try:
        yield found
    finally:
        watching.cancel()
        found.sort()
