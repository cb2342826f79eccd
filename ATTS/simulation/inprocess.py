"""A model of an emulated server without the HTTP: the same engine, called directly."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ATTS.emulator.engine import Engine, Job
from ATTS.errors import ServerFailed
from ATTS.method.chain import CacheStats
from ATTS.method.types import Generated, Usage
from ATTS.serving import affinity
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.load import Load
from ATTS.serving.placement import Placement
from ATTS.serving.server_info import ServerInfo


class Says(Protocol):
    """What a model has to say, in token ids. Raises LookupError for a prompt it knows nothing about."""

    def write(self, role: str, ids: Sequence[int], most: int) -> tuple[list[int], bool]:
        """At most ``most`` tokens behind ``ids``, and whether the text ends there."""
        ...

    def logprob(self, ids: Sequence[int], start: int) -> float:
        """The mean log-probability of ``ids[start:]``."""
        ...


class EngineModel:
    """A served model (:class:`ATTS.method.types.LanguageModel`), limits included.

    What a request waits inside the server counts as queueing: here it is known, over HTTP it is not.
    """

    def __init__(
        self,
        role: str,
        says: Says,
        engine: Engine,
        limit: AbstractAsyncContextManager[None],
        scoring_limit: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        self.url = "emulated"
        self.role = role
        self.engine = engine
        self.memory = CacheStats(page=engine.timing.page)
        memory = engine.timing.kv_tokens or None
        self.info = ServerInfo(frozenset({role}), role, None, None, "0.5.23", memory)
        self._says = says
        self._limit = limit
        self._scoring_limit = scoring_limit or limit

    async def generate(
        self,
        ids: Sequence[int],
        max_tokens: int,
        temperature: float,  # noqa: ARG002 - its content is given
        stop: Sequence[str] = (),  # noqa: ARG002
    ) -> Generated:
        """See LanguageModel."""
        called = asyncio.get_running_loop().time()
        async with self._limit:
            try:
                written, ended = self._says.write(self.role, ids, max_tokens)
            except LookupError as error:
                raise ServerFailed(f"the emulated {self.role}: {error}") from error
            usage = await self._serve(Job(ids, len(ids), written), called)
        return Generated(written, ended, usage)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel."""
        called = asyncio.get_running_loop().time()
        async with self._scoring_limit:
            value = self._says.logprob(ids, start)
            usage = await self._serve(Job(ids, start - 1, []), called)
        return [value] * (len(ids) - start), usage

    async def _serve(self, job: Job, called: float) -> Usage:
        clock = asyncio.get_running_loop().time
        sent = clock()
        await self.engine.run(job)
        queued = sent - called + job.queued_seconds
        return Usage(len(job.prompt), job.cached, len(job.output), queued, max(0.0, clock() - called - queued), called)

    async def load(self) -> Load | None:
        """How busy the emulated engine is."""
        return self.engine.load()


class Replica(EngineModel):
    """One of several servers of a model (a :class:`ATTS.serving.placement.Place`)."""

    def __init__(self, role: str, says: Says, engine: Engine, gate: CapacityLimiter) -> None:
        super().__init__(role, says, engine, gate)
        self.gate, self.chains, self.moved, self.lost = gate, 0, 0, False

    @property
    def asked(self) -> int:
        """Requests in flight, and those that wait for a slot."""
        return self.gate.inside + self.gate.waiting

    @property
    def waiting(self) -> int:
        """These alone."""
        return self.gate.waiting


class Replicas:
    """All servers of a model as one (:class:`ATTS.method.types.LanguageModel`): each chain goes to the server that the
    production placement chooses."""

    def __init__(self, servers: Sequence[Replica]) -> None:
        self.servers, self.memory = servers, CacheStats()
        self._placement = Placement(servers)

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        """See LanguageModel."""
        with affinity.of_request() as who:
            return await self._placement.choose(who).generate(ids, max_tokens, temperature, stop)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel."""
        with affinity.of_request() as who:
            return await self._placement.choose(who).logprobs(ids, start)
