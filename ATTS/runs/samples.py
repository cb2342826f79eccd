"""The samples of a run: from the queue to their end, whatever that is."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from ATTS.errors import ExitStatus, Refused, SampleError, UserError
from ATTS.method.types import Transcript
from ATTS.runs.stopping import Said, Stopping, Unstarted
from ATTS.serving import affinity
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.queue import drain
from ATTS.store.records import OWED, Key

Sample = tuple[Transcript, Coroutine[Any, Any, ExitStatus]]  # and the work on it
Loop = Callable[[Key], Sample]
Schedule = Literal["queue", "question"]
DECIDED = "its question was decided"


@dataclass(frozen=True, slots=True)
class Ended:
    """One sample at its end. Seconds are wall time, waiting included; ``started_at`` by the event loop's clock."""

    key: Key
    chain: Transcript
    status: ExitStatus
    reason: str | None
    started_at: float
    seconds: float
    goes_on: bool = False  # where it was interrupted, when the same command tries it again


async def run_samples(
    owed: Iterable[Key],
    loop: Loop,
    keep: Callable[[Ended], Awaitable[float | None]],
    in_flight: CapacityLimiter,
    schedule: Schedule = "queue",
    queue_empty: Callable[[], None] = lambda: None,
    stop: Stopping | None = None,
) -> None:
    """Runs every sample of ``owed`` through ``loop`` and hands it to ``keep``, which returns the confidence in its
    answer if there is one.

    "queue": all stand in one queue. "question" (as published): one question's samples after the other's, each
    time waiting for the slowest. ``queue_empty`` is called when the last sample has started. ``stop`` chooses the next
    sample of ``owed``, and leaves out those whose question is decided: they are kept as stopped. Raises
    what ``loop`` raises but SampleError, which ends one sample only; samples under way are kept as cancelled.
    """
    clock = asyncio.get_running_loop().time

    async def work(key: Key) -> None:
        chain, ending = loop(key)
        started = clock()
        reason, goes_on = None, False
        try:
            name = f"q{key.question.index}-s{key.repeat}"
            with stop.under_way(key) if stop else nullcontext(), affinity.chain(name, name.partition("-")[0]):
                status = await ending
        except SampleError as error:
            status, reason = error.status, str(error)
            goes_on = status in OWED and not isinstance(error, Refused)
        except (asyncio.CancelledError, UserError) as error:
            if stop and isinstance(error, asyncio.CancelledError) and stop.was_cancelled(key):
                status, reason = ExitStatus.STOPPED, DECIDED
            else:
                status = ExitStatus.SERVER_FAILED if isinstance(error, UserError) else ExitStatus.CANCELLED
                await keep(Ended(key, chain, status, str(error) or None, started, clock() - started, goes_on=True))
                raise
        seconds = clock() - started
        confidence = await keep(Ended(key, chain, status, reason, started, seconds, goes_on))
        if stop:
            silent = status is ExitStatus.STOPPED or status in OWED
            said = Said(key.question.index, key.index, started + seconds, chain.answer, confidence)
            await leave_out(await stop.ended(key, None if silent else said))

    async def leave_out(keys: Iterable[Key]) -> None:
        for key in keys:
            await keep(Ended(key, Unstarted(), ExitStatus.STOPPED, f"{DECIDED} before it began", clock(), 0.0))

    async def work_on_next(key: Key) -> None:
        """``stop`` may choose another sample than ``key``, whose place it takes in the queue, or none."""
        assert stop is not None
        chosen = stop.take(key.question.index if schedule == "question" else None)
        if chosen is not None:
            await work(chosen)

    def told(keys: Iterable[Key]) -> Iterator[Key]:
        yield from keys
        queue_empty()

    do = work
    if stop is not None:
        await leave_out(await stop.begin())
        do = work_on_next
    if schedule == "queue":
        await drain(told(owed), do, in_flight)
        return
    place = 0
    for _, batch in itertools.groupby(owed, key=lambda key: key.question.index):
        place += await drain(batch, do, in_flight, place)
    queue_empty()
