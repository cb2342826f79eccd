"""The samples of a run: from the queue to their end, whatever that is."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ATTS.errors import ExitStatus, Refused, SampleError, UserError
from ATTS.method.types import Transcript
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.queue import drain
from ATTS.store.records import OWED, Key

Sample = tuple[Transcript, Coroutine[Any, Any, ExitStatus]]  # and the work on it
Loop = Callable[[Key], Sample]
Schedule = Literal["queue", "question"]


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
    keep: Callable[[Ended], Awaitable[None]],
    in_flight: CapacityLimiter,
    schedule: Schedule = "queue",
    queue_empty: Callable[[], None] = lambda: None,
) -> None:
    """Runs every sample of ``owed`` through ``loop`` and hands it to ``keep``.

    "queue": all stand in one queue. "question" (as published): one question's samples after the other's, each
    time waiting for the slowest. ``queue_empty`` is called when the last sample has started. Raises
    what ``loop`` raises but SampleError, which ends one sample only; samples under way are kept as cancelled.
    """
    clock = asyncio.get_running_loop().time

    async def work(key: Key) -> None:
        chain, ending = loop(key)
        started = clock()
        reason, goes_on = None, False
        try:
            status = await ending
        except SampleError as error:
            status, reason = error.status, str(error)
            goes_on = status in OWED and not isinstance(error, Refused)
        except (asyncio.CancelledError, UserError) as error:
            status = ExitStatus.SERVER_FAILED if isinstance(error, UserError) else ExitStatus.CANCELLED
            await keep(Ended(key, chain, status, str(error) or None, started, clock() - started, goes_on=True))
            raise
        await keep(Ended(key, chain, status, reason, started, clock() - started, goes_on))

    def told(keys: Iterable[Key]) -> Iterator[Key]:
        yield from keys
        queue_empty()

    if schedule == "queue":
        await drain(told(owed), work, in_flight)
        return
    place = 0
    for _, batch in itertools.groupby(owed, key=lambda key: key.question.index):
        place += await drain(batch, work, in_flight, place)
    queue_empty()
