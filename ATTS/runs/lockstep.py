"""The barrier that ATTS drops, put back for comparison: a question's samples go turn by turn together.

Ranking a turn's candidates needs all of their scores, so nobody goes on before the last one is
scored, and nobody drafts before the last one has been continued.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ATTS.method.chain import Reader
from ATTS.method.types import Generated, LanguageModel, Usage

Result = TypeVar("Result")


@dataclass
class _Group:
    """The samples of one question: at which step each one waits or works; a step is a half turn."""

    steps: dict[int, int] = field(default_factory=dict)
    waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)

    async def arrive(self, sample: int, step: int) -> None:
        """Returns when every sample that is still there has come to ``step``."""
        self.steps[sample] = step
        if min(self.steps.values()) < step:
            reached = asyncio.get_running_loop().create_future()
            self.waiting.append((step, reached))
            self._release()
            await reached
        else:
            self._release()

    def leave(self, sample: int) -> None:
        self.steps.pop(sample, None)
        self._release()

    def _release(self) -> None:
        slowest = min(self.steps.values(), default=0)
        for step, reached in self.waiting:
            if (not self.steps or step <= slowest) and not reached.done():
                reached.set_result(None)
        self.waiting = [entry for entry in self.waiting if not entry[1].done()]


class Drafting:
    """The draft of one sample in lockstep."""

    def __init__(self, model: LanguageModel, group: _Group, sample: int) -> None:
        self._model, self._group, self.sample = model, group, sample
        self.turn = 0

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        await self._group.arrive(self.sample, 2 * self.turn)
        self.turn += 1
        return await self._model.generate(ids, max_tokens, temperature, stop)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        return await self._model.logprobs(ids, start)


class Scoring:
    """Its target."""

    def __init__(self, model: LanguageModel, group: _Group, sample: int, drafting: Drafting) -> None:
        self._model, self._group, self._sample, self._drafting = model, group, sample, drafting

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        return await self._model.generate(ids, max_tokens, temperature, stop)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        scored = await self._model.logprobs(ids, start)
        await self._group.arrive(self._sample, 2 * self._drafting.turn - 1)
        return scored


class Lockstep:
    """All questions' barriers. Samples of a question must all have joined before the first one drafts,
    so all of them have to be in flight together."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = defaultdict(_Group)
        self._numbers = 0

    def join(self, question: int, readers: dict[str, Reader]) -> dict[str, Reader]:
        """Puts one sample's readers under its question's barrier."""
        group, sample = self._groups[question], self._numbers
        self._numbers += 1
        group.steps[sample] = -1
        drafting = Drafting(readers["draft"].model, group, sample)
        readers["draft"].model = drafting
        readers["target"].model = Scoring(readers["target"].model, group, sample, drafting)
        return readers

    async def leaving(self, question: int, draft: Reader, running: Coroutine[Any, Any, Result]) -> Result:
        """Runs a sample and takes it out of the barrier at its end."""
        assert isinstance(draft.model, Drafting)
        try:
            return await running
        finally:
            self._groups[question].leave(draft.model.sample)
