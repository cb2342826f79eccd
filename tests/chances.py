"""Questions in groups, and what is drawn from what was said, for runs of calibration kinds."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

from ATTS.store.records import Digests
from ATTS.tasks.datasets import Question

NO_DIGESTS: Digests = {"settings_digest": None, "calibration_digest": None}
PAIR = {"small_model_name": "d", "eval_model_name": "t"}
QUESTIONS = [Question(i, f"question {i}", str(i), group="even" if i % 2 == 0 else "odd") for i in range(5)]


def chance(*of: object) -> random.Random:
    """What follows from the same things is the same."""
    return random.Random(sha256(repr(of).encode()).hexdigest())


async def cut_off(work: Coroutine[Any, Any, Any], enough: Callable[[], bool]) -> None:
    """Cancels ``work`` as soon as there is ``enough`` of it."""
    task = asyncio.ensure_future(work)
    while not enough() and not task.done():  # noqa: ASYNC110 - files tell, no event does
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def entries_of(journal: Path) -> list[dict[str, Any]]:
    """What a journal holds behind its head. Its last line may be half written while a run goes on; it doesn't count."""
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_text().rpartition("\n")[0].splitlines()[1:]]
