"""A server that has stopped without breaking its connections: noticed by its silence, not by requests' time-outs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager

from ATTS.serving.retry import Stalled

LOOKS = 4  # at the server, in the time that it may be silent
STALL_SECONDS = 120.0


class Watch:
    """Breaks off the requests of one server when none has been answered for ``seconds``, although some wait, and the
    server's own counters haven't moved either: a long chunk on a slow machine is no stall.

    ``signs``: what the server says of its progress; None where it says nothing, which counts as silence. One event
    loop uses it.
    """

    def __init__(self, seconds: float, signs: Callable[[], Awaitable[Hashable | None]]) -> None:
        self._seconds, self._signs = seconds, signs
        self._waiting: set[asyncio.Timeout] = set()
        self._alive = 0.0  # when it last showed any
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """One request, from sending it to having its answer. Raises Stalled."""
        now = asyncio.get_running_loop().time
        if not self._waiting:
            self._alive = now()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())  # ends with the event loop
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waiting.add(scope)
                try:
                    yield
                finally:
                    self._waiting.discard(scope)
                self._alive = now()
        except TimeoutError:
            if not scope.expired():
                raise
            raise Stalled(f"no sign of life for {self._seconds:g} s while requests wait (--stall_timeout)") from None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        seen: Hashable | None = None
        while True:
            await asyncio.sleep(self._seconds / LOOKS)
            if not self._waiting:
                continue
            signs = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds / LOOKS):
                    signs = await self._signs()
            if signs is not None and signs != seen:
                seen, self._alive = signs, loop.time()
            elif loop.time() - self._alive >= self._seconds:
                for scope in self._waiting:
                    scope.reschedule(loop.time())
                self._alive = loop.time()
