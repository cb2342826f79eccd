"""Several samples, one answer: which answers are the same vote, for a server that compares for ever."""

import asyncio
from collections.abc import Awaitable, Callable

from ATTS.tasks.equivalence import Grader
from ATTS.votes.labels import Labels

MOST_NAMED = 2000  # answers until what was compared is forgotten

Namer = Callable[[str], Awaitable[str]]


class Naming:
    """Names answers that mean the same alike, as the grader compares them; hard cases go to worker processes."""

    def __init__(self) -> None:
        self._grader = Grader(workers=2)
        self._named = 0  # answers, since the grader forgot its pairs
        self._alone = asyncio.Lock()  # the grader is for one thread at a time

    def close(self) -> None:
        """Ends the worker processes."""
        self._grader.__exit__()

    def of_a_vote(self) -> Namer:
        """What names the answers of one vote."""
        labels = Labels(self._grader)

        async def name(answer: str) -> str:
            async with self._alone:
                self._named += 1
                if self._named > MOST_NAMED:
                    self._grader.forget()
                    self._named = 0
                return await asyncio.to_thread(labels, 0, answer)

        return name
