"""A limit on how many do something at a time, that can change while they do it."""

import asyncio
import heapq
import itertools
import sys
from contextvars import ContextVar

# Where the sample that is under way in this task stands in the queue. Who came first goes first at
# every gate: questions are finished in order, and when not all chains in flight fit a server's
# memory, the younger ones wait while the older ones keep theirs. (In order of asking each would
# drive the next one's chain out of the prefix cache.)
QUEUE_POSITION: ContextVar[int] = ContextVar("place", default=0)
NO_LIMIT = sys.maxsize


class CapacityLimiter:
    """``async with gate: ...`` lets ``limit`` in at a time and keeps count of how full it was.

    One event loop uses it, so nothing is locked. Times are those of the event loop.
    """

    def __init__(self, limit: int = NO_LIMIT) -> None:
        self._limit = limit
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self.inside = 0
        self.occupied_seconds = 0.0  # by all who were inside, added up
        self.busy_seconds = 0.0  # in which anyone was
        self.most_inside = 0
        self.left = 0  # how many have come out
        self.kept_waiting = False  # somebody, since this was last set to False
        self._since: float | None = None

    @property
    def limit(self) -> int:
        """Most that may be inside; a change takes effect at once."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = max(1, limit)
        self._admit()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def occupied(self) -> float:
        """Seconds spent inside so far, by all."""
        self._count(0)
        return self.occupied_seconds

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *exception: object) -> None:
        self.release()

    async def acquire(self) -> None:
        """Waits for a place."""
        if self.inside < self._limit and not self._waiting:
            self._count(1)
            return
        self.kept_waiting = True
        let_in = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (QUEUE_POSITION.get(), next(self._numbers), let_in))
        try:
            await let_in
        except asyncio.CancelledError:
            if let_in.done() and not let_in.cancelled():  # let in and cancelled at once: the place is free again
                self.release()
            else:
                self._waiting = [entry for entry in self._waiting if entry[2] is not let_in]
                heapq.heapify(self._waiting)
            raise

    def release(self) -> None:
        """Gives a place back."""
        self._count(-1)
        self.left += 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.inside < self._limit:
            let_in = heapq.heappop(self._waiting)[2]
            if not let_in.done():
                self._count(1)
                let_in.set_result(None)

    def _count(self, change: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._since is not None:
            self.occupied_seconds += (now - self._since) * self.inside
            if self.inside:
                self.busy_seconds += now - self._since
        self._since = now
        self.inside += change
        self.most_inside = max(self.most_inside, self.inside)
