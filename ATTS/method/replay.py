"""A chain that was interrupted, told again from its journal: the replies that it had are not asked for again."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypedDict

from ATTS.method.types import Generated, LanguageModel, TellsBest, Usage


class Reply(TypedDict):
    """What a model wrote: ``ids`` without an end-of-text token; ``ended`` if it wrote one."""

    ids: list[int]
    ended: bool


class Replayed:
    """``model``, which writes what ``replies`` hold first, and hands every further reply to ``keep``.

    One chain's requests to one model come one after the other, so their order is all that is needed.
    """

    def __init__(
        self, model: LanguageModel, replies: Iterable[Reply], keep: Callable[[Reply], Awaitable[None]]
    ) -> None:
        self._model, self._replies, self._keep = model, deque(replies), keep

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        """See LanguageModel."""
        if self._replies:
            reply = self._replies.popleft()
            return Generated(reply["ids"], reply["ended"], Usage())
        written = await self._model.generate(ids, max_tokens, temperature, stop)
        await self._keep({"ids": written.ids, "ended": written.ended})
        return written

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel."""
        return await self._model.logprobs(ids, start)

    async def logprobs_and_best(
        self, ids: Sequence[int], start: int
    ) -> tuple[list[float | None], list[float | None], Usage]:
        """See TellsBest."""
        assert isinstance(self._model, TellsBest)
        return await self._model.logprobs_and_best(ids, start)
