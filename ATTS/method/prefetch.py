"""Optimistic drafting: the next chunk, begun before it is known whether it is wanted."""

import asyncio

from ATTS.method.chain import ModelView
from ATTS.method.types import Discarded, Generated


class Prefetch:
    """The draft's next chunk of one chain: begun early, or written when it is asked for.

    What it writes behind is the chain as it stands when it is begun, so it is the same chunk as
    without it: used if the chain is still the same, discarded if the target continues instead.
    """

    def __init__(self, draft: ModelView, discarded: list[Discarded]) -> None:
        self._draft = draft
        self._task: asyncio.Task[Generated] | None = None
        self._turn = 0
        self._began = 0.0
        self._discarded = discarded  # discarded chunks are recorded here

    def begin(self, turn: int) -> None:
        """Starts drafting the next chunk while the last one is scored."""
        self._turn, self._began = turn, asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._draft.write())

    async def chunk(self) -> Generated:
        """Raises SampleError, of a chunk that was begun early only here."""
        if self._task is None:
            return await self._draft.write()
        task, self._task = self._task, None
        return await task

    async def drop(self) -> None:
        """Breaks off what was begun; its connection is closed, which makes the server abort it."""
        if self._task is None:
            return
        task, self._task = self._task, None
        finished = task.done()
        task.cancel()
        await asyncio.wait([task])
        failed = task.cancelled() or task.exception() is not None
        tokens = None if failed or not finished else task.result().usage.completion_tokens
        seconds = asyncio.get_running_loop().time() - self._began
        self._discarded.append(Discarded(self._turn, self._began, seconds, tokens))
