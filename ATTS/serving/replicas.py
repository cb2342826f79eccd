"""Several servers of one model: which of them a request goes to, and what becomes of one that dies.

A chain stays with the server that has its beginning in the prefix cache. It moves when requests already wait there
and the server has more than ``BOUND`` times as many as the servers have on the average (bounded load, Mirrokni et al.
2018, arXiv:1608.01350), or when the server is lost. A new chain goes to where its question's newest chain is, whose
prompt it shares, as long as that keeps the bound in chains; else to the server with the fewest.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from uuid import uuid4

import aiohttp

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.serving import identity as identities
from ATTS.serving import retry
from ATTS.serving.affinity import Affinity
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.endpoint import Endpoint
from ATTS.serving.identity import Identity, difference
from ATTS.serving.limits import START
from ATTS.serving.retry import Stalled
from ATTS.serving.server_info import ServerInfo, inspect

BOUND = 1.25  # of the mean, and one more: a place among few is a large share
QUESTIONS = 1024  # whose newest chain's server is known
AGAIN = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # seconds until a lost server is tried, then each MOST_SECONDS
MOST_SECONDS = 60.0


class Replicas:
    """The servers of one model; one is a special case. ``same``: how one that came back differs from what it was."""

    def __init__(
        self, endpoints: Sequence[Endpoint], same: Callable[[Endpoint], Awaitable[str | None]] | None = None
    ) -> None:
        self.role = endpoints[0].role
        self.info = common([endpoint.info for endpoint in endpoints])
        self.number = uuid4().hex[:8]  # before the names of requests: other clients have chains with these names, too
        self._endpoints, self._same = endpoints, same
        self._questions: OrderedDict[str, Endpoint] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()  # end with the event loop

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)

    def choose(self, who: Affinity, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """Where the chain's next request goes; not to one of ``avoid`` if another is there."""
        up = [one for one in self._endpoints if not one.lost]
        rest = [one for one in up if one not in avoid] or up
        home = who.place(self.role)
        if isinstance(home, Endpoint) and home in rest:
            if not home.waiting or home.asked + 1 <= _bound(one.asked for one in up):
                return home
            chosen = min(rest, key=lambda one: one.asked)
        else:
            chosen = self._newest(who.question, up, rest) or min(rest, key=lambda one: (one.chains, one.asked))
        if chosen is not home:
            who.move(self.role, chosen)
        if who.question:
            self._questions[who.question] = chosen
            self._questions.move_to_end(who.question)
            if len(self._questions) > QUESTIONS:
                self._questions.popitem(last=False)
        return chosen

    def _newest(self, question: str, up: Sequence[Endpoint], rest: Sequence[Endpoint]) -> Endpoint | None:
        """The server of the question's newest chain, if it has room for another."""
        found = self._questions.get(question)
        room = found in rest and found is not None and found.chains + 1 <= _bound(one.chains for one in up)
        return found if room else None

    async def lose(self, endpoint: Endpoint, error: BaseException) -> bool:
        """Whether a request that failed there by ``error`` is to go to another server at once, because this one has
        gone or hangs. The last one that is left is never given up: requests are tried there again."""
        broken = isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
        if len(self) == 1 or not (endpoint.lost or isinstance(error, Stalled) or (broken and await endpoint.gone())):
            return False
        left = sum(not one.lost for one in self._endpoints)
        if not endpoint.lost:
            if left == 1:
                return False
            endpoint.lost = True
            what = f"hangs ({error})" if isinstance(error, Stalled) else f"has gone ({retry.describe(error)})"
            say(
                f"the {self.role} server at {endpoint.url} {what}: its chains go on at the other"
                f" {f'{left - 1} servers' if left > 2 else 'server'}, and it is tried again from time to time"
            )
            self._tasks.add(task := asyncio.create_task(self._wait_for(endpoint)))
            task.add_done_callback(self._tasks.discard)
        return True

    async def _wait_for(self, endpoint: Endpoint) -> None:
        told = False
        for seconds in chain(AGAIN, repeat(MOST_SECONDS)):
            await asyncio.sleep(seconds)
            try:
                differs = await self._same(endpoint) if self._same else None
            except UserError:
                continue
            if not await endpoint.healthy():
                continue
            if differs is None:
                endpoint.lost = False
                say(f"the {self.role} server at {endpoint.url} is back")
                return
            if not told:
                say(f"the {self.role} server at {endpoint.url} is not used any more: it {differs}")
                told = True


def _bound(loads: Iterator[int]) -> float:
    """Most that one server may have when there is one more."""
    counts = list(loads)
    return BOUND * (sum(counts) + 1) / len(counts) + 1


def common(infos: Sequence[ServerInfo]) -> ServerInfo:
    """What holds at all of them; memories added up."""
    lengths = [info.context_length for info in infos if info.context_length is not None]
    memories = [info.kv_tokens for info in infos if info.kv_tokens is not None]
    return replace(
        infos[0],
        context_length=min(lengths, default=None),
        version=infos[0].version if len({info.version for info in infos}) == 1 else None,
        kv_tokens=sum(memories) if memories else None,
    )


async def reach(
    session: aiohttp.ClientSession,
    role: str,
    urls: Sequence[str],
    name: str,
    limit: int,
    scoring_limit: int,
    stall: float,
) -> Replicas:
    """The servers at ``urls``, asked what they are; ``limit`` (0: adaptive) and ``scoring_limit`` (0: none of its own)
    are of each. Raises UserError if one isn't there, or serves another model than the first."""
    if len(urls) == 1:
        infos = [await inspect(session, urls[0], role, name)]
        known: list[Identity] = []
    else:
        known = [await identities.identity(session, url, role, name) for url in urls]
        infos = [one.info for one in known]
    for url, other in zip(urls, known, strict=False):
        if (differs := difference(known[0], other)) is not None:
            raise UserError(f"the {role} server at {url} {differs}: start all {role} servers with the same model")
    endpoints = [
        Endpoint(
            *(session, url, role, info, CapacityLimiter(limit or START)),
            CapacityLimiter(scoring_limit) if scoring_limit else None,
            stall,
            label=role if len(urls) == 1 else f"{role} {number}",
        )
        for number, (url, info) in enumerate(zip(urls, infos, strict=True), 1)
    ]

    async def same(endpoint: Endpoint) -> str | None:
        return difference(known[0], await identities.identity(session, endpoint.url, role, name))

    return Replicas(endpoints, same)
