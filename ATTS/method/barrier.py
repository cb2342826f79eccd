"""Where samples wait for each other. ATTS needs none; some baselines and calibration by turn do."""

import asyncio
import itertools
from collections import Counter, defaultdict


class Barrier:
    """Samples that go through numbered steps together.

    ``members``: how many there will be; all of them must be under way for it to open. None: those that have
    joined so far; one that joins later holds the others up until it has caught up. One event loop uses it, so
    nothing is locked.
    """

    def __init__(self, members: int | None) -> None:
        self._steps: dict[int, int] = {}  # of each member that has joined
        self._open_ended = members is None
        self._at = Counter({-1: members} if members else {})  # members at each step; -1: before the first
        self._numbers = itertools.count()
        self._waiting: dict[int, list[asyncio.Future[None]]] = defaultdict(list)  # by step

    def join(self) -> int:
        """The number of a new member."""
        number = next(self._numbers)
        self._steps[number] = -1
        self._at[-1] += self._open_ended
        return number

    def reach(self, member: int, step: int) -> None:
        """``member`` has come to ``step`` and doesn't wait there."""
        self._move(self._steps[member], step)
        self._steps[member] = step
        self._open()

    async def arrive(self, member: int, step: int) -> None:
        """Returns when every member that has not left has come to ``step``."""
        self.reach(member, step)
        if min(self._at) < step:
            opened = asyncio.get_running_loop().create_future()
            self._waiting[step].append(opened)
            await opened

    def leave(self, member: int) -> None:
        """``member`` has ended in any way; nobody waits for it any more."""
        if member in self._steps:
            self._move(self._steps.pop(member), None)
            self._open()

    def _move(self, old: int, new: int | None) -> None:
        self._at[old] -= 1
        if not self._at[old]:
            del self._at[old]
        if new is not None:
            self._at[new] += 1

    def _open(self) -> None:
        slowest = min(self._at, default=None)
        for step in [step for step in self._waiting if slowest is None or step <= slowest]:
            for opened in self._waiting.pop(step):
                if not opened.done():
                    opened.set_result(None)
