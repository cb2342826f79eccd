"""A run while it goes: what its samples have come to so far, shown at the terminal and written into its folder."""

import asyncio
import contextlib
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ATTS.errors import ExitStatus
from ATTS.method.types import Stage, Transcript
from ATTS.progress.status import lines
from ATTS.serving.limits import Limits
from ATTS.store import progress
from ATTS.store.progress import Status
from ATTS.store.records import Key

Sample = tuple[Transcript, Coroutine[Any, Any, ExitStatus]]  # and the work on it
EVERY, LINE_EVERY, WINDOW = 1.0, 30.0, 60.0  # seconds: between looks, between lines without a terminal, of the rates


class RunProgress:
    """Counts what samples under way have done. ``async with`` it while they are.

    ``most_turns`` of a sample, if there is such a limit. ``asked``: the rejection rate. ``shard``: the name of the
    part of a run that it is.
    """

    def __init__(
        self,
        folder: Path,
        total: int,
        before: int,
        limits: Limits,
        most_turns: int | None = None,
        asked: float | None = None,
        quiet: bool = False,
        shard: str = "",
    ) -> None:
        self._folder, self._total, self._before, self._limits = folder, total, before, limits
        self._most_turns, self._asked, self._quiet, self._shard = most_turns, asked, quiet, shard
        self._chains: dict[int, tuple[Transcript, int]] = {}  # by sample, with how many of its events are counted
        self._statuses: Counter[str] = Counter()
        self._turns, self._tokens = 0, {"draft": 0, "target": 0}
        self._scored: dict[int, list[int]] = {}
        self._graded = self._right = 0
        self._finished = 0  # of those that ran
        self._began = self._said = time.monotonic()
        self._past: deque[tuple[float, int, dict[str, int]]] = deque()
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None

    def watched(self, loop: Callable[[Key], Sample]) -> Callable[[Key], Sample]:
        """The same loop, whose samples are counted while they are under way."""

        def begin(key: Key) -> Sample:
            chain, work = loop(key)
            self._chains[key.index] = chain, 0
            return chain, work

        return begin

    def ended(self, key: Key, status: ExitStatus, right: bool | None) -> None:
        """A sample is kept. ``right``: None where notation alone can't tell."""
        self._statuses[status.value] += 1
        if key.index in self._chains:
            self._count(key.index)
            del self._chains[key.index]
            self._finished += status is not ExitStatus.STOPPED
        if right is not None:
            self._graded += 1
            self._right += right

    def _count(self, index: int) -> None:
        """The events of a sample since the last look."""
        chain, seen = self._chains[index]
        for event in chain.history[seen:]:
            author = event.stage.author
            if event.stage is Stage.SCORE:
                counts = self._scored.setdefault(event.turn, [0, 0])
                counts[0] += 1
                counts[1] += bool(event.rejected)
            elif author is not None:
                self._tokens[author] += event.usage.completion_tokens
                self._turns += event.stage in (Stage.DRAFT, Stage.DRAFT_DISCARDED)
        self._chains[index] = chain, len(chain.history)

    def status(self) -> Status:
        """As of now."""
        now = time.monotonic()
        for index in self._chains:
            self._count(index)
        self._past.append((now, self._turns, dict(self._tokens)))
        while now - self._past[0][0] > WINDOW:
            self._past.popleft()
        then, turns, tokens = (
            self._past[0] if now > self._past[0][0] else (self._began, 0, dict.fromkeys(self._tokens, 0))
        )
        seconds = max(now - then, 1e-9)
        speed = (self._turns - turns) / seconds
        expected = self._turns_a_sample()
        return {
            "at": time.time(),
            "seconds": now - self._began,
            "total": self._total,
            "before": self._before,
            "by_status": dict(self._statuses.most_common()),
            "running": len(self._chains),
            "turns": self._turns,
            "turns_per_second": speed,
            "turns_a_sample": expected,
            "tokens": dict(self._tokens),
            "tokens_per_second": {who: (count - tokens[who]) / seconds for who, count in self._tokens.items()},
            "scored": {str(turn): counts for turn, counts in sorted(self._scored.items())},
            "asked": self._asked,
            "graded": self._graded,
            "right": self._right,
            "seconds_left": self._left(expected) / speed if expected is not None and speed else None,
            "servers": {
                server.label: {
                    "in_flight": server.gate.inside,
                    "waiting": server.gate.waiting,
                    "limit": server.gate.limit,
                }
                for server in self._limits.servers
            },
        }

    def _turns_a_sample(self) -> float | None:
        """All turns so far over the samples that ended: those still under way would bias a mean of the finished ones,
        which are the short ones (the estimate of an exponential lifetime with censoring). Before any has ended, the
        most that a sample may have."""
        if not self._finished:
            return self._most_turns
        expected = self._turns / self._finished
        return min(expected, self._most_turns) if self._most_turns else expected

    def _left(self, expected: float) -> float:
        """Turns until the end: of a sample under way as many as of a new one, but no more than it still may have."""
        waiting = self._total - self._before - self._statuses.total() - len(self._chains)
        running = 0.0
        for chain, _ in self._chains.values():
            done = chain.history[-1].turn + 1 if chain.history else 0
            running += expected if self._most_turns is None else min(expected, max(0, self._most_turns - done))
        return max(0, waiting) * expected + running

    async def __aenter__(self) -> "RunProgress":
        self._began = self._said = time.monotonic()
        if sys.stderr.isatty() and not self._quiet:
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._statuses:
            self._show(self.status(), last=True)
        if self._live is not None:
            self._live.stop()
        with contextlib.suppress(OSError):
            progress.remove(self._folder, self._shard)

    async def _look(self) -> None:
        while True:
            status = self.status()
            with contextlib.suppress(OSError):  # the run doesn't need it
                progress.write(self._folder, status, self._shard)
            self._show(status)
            await asyncio.sleep(EVERY)

    def _show(self, status: Status, last: bool = False) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(Text("\n".join(f"{name:<10}{text}" for name, text in lines(status))), refresh=True)
        elif last or time.monotonic() - self._said >= LINE_EVERY:
            self._said = time.monotonic()
            print("; ".join(f"{name} {text}" for name, text in lines(status)), file=sys.stderr, flush=True)
