"""Several servers of one model: how they are reached, and what becomes of one that dies."""

import asyncio
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
from ATTS.serving.gateway import workers
from ATTS.serving.identity import Identity, difference
from ATTS.serving.limits import START
from ATTS.serving.placement import Placement
from ATTS.serving.retry import Stalled
from ATTS.serving.server_info import ServerInfo, inspect

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
        self._placement = Placement(endpoints)
        self._tasks: set[asyncio.Task[None]] = set()  # end with the event loop

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)

    def choose(self, who: Affinity, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """See Placement."""
        return self._placement.choose(who, avoid)

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
    are of each. A gateway counts as one, and what it serves is asked of the servers behind it. Raises UserError if
    one isn't there, or serves another model than the first."""
    behind = {url: await workers(session, url, role) for url in urls}
    direct = [one for url in urls for one in behind[url] or [url]]
    if len(direct) == 1:
        info = await inspect(session, direct[0], role, name)
        known = {direct[0]: Identity(info, None, None)}
    else:
        known = {url: await identities.identity(session, url, role, name) for url in direct}
    first = known[direct[0]]
    for url, other in known.items():
        if (differs := difference(first, other)) is not None:
            raise UserError(f"the {role} server at {url} {differs}: start all {role} servers with the same model")
    endpoints = [
        Endpoint(
            *(session, url, role, common([known[one].info for one in behind[url] or [url]])),
            CapacityLimiter(limit or START),
            CapacityLimiter(scoring_limit) if scoring_limit else None,
            stall,
            label=role if len(urls) == 1 else f"{role} {number}",
            workers=behind[url],
        )
        for number, url in enumerate(urls, 1)
    ]

    async def same(endpoint: Endpoint) -> str | None:
        url = (await workers(session, endpoint.url, role) or [endpoint.url])[0]
        return difference(first, await identities.identity(session, url, role, name))

    return Replicas(endpoints, same)
