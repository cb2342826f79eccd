"""One server of a model over HTTP: its limits, how a request gets there, and how it is doing."""

import asyncio
from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

import aiohttp
import orjson
import yarl

from ATTS.errors import Refused
from ATTS.serving import gateway, keys, replies, retry
from ATTS.serving.load import Load, load, together
from ATTS.serving.replies import Body, Counts
from ATTS.serving.retry import Lost, Transient
from ATTS.serving.server_info import JSON, ServerInfo, get_page
from ATTS.serving.stall import STALL_SECONDS, Watch

ABORT = aiohttp.ClientTimeout(total=5.0)
LOOK = aiohttp.ClientTimeout(total=15.0)
ROUTING_KEY = "X-SMG-Routing-Key"  # a gateway sends requests with the same one to the same server

Slots = AbstractAsyncContextManager[None]


@dataclass
class Waited:
    """Seconds of one request, its retries included."""

    queued: float = 0.0  # for a slot here
    served: float = 0.0  # for the server


class Endpoint:
    """One server, or a gateway before several (``workers``: their URLs).

    ``limit`` bounds the requests in flight, ``scoring_limit`` those that score (None: the same limit counts both).
    ``stall``: seconds that the server may show no sign of life while requests wait. ``label``: what summaries call it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        role: str,
        info: ServerInfo,
        limit: Slots,
        scoring_limit: Slots | None = None,
        stall: float = STALL_SECONDS,
        label: str | None = None,
        workers: Sequence[str] = (),
    ) -> None:
        self.url, self.role, self.info, self.label, self.workers = url, role, info, label or role, workers
        self.limit, self._scoring_limit = limit, scoring_limit or limit
        self.chains = 0  # that have their place here
        self.moved = 0  # that have left for another server
        self.asked = 0  # requests in flight, and those that wait for a slot
        self.waiting = 0  # these alone
        self.lost = False  # it has gone or hangs, and isn't asked until it is back
        self.requests = self.prompt_tokens = self.cached_tokens = 0  # answered, by what the replies say
        self._session = session
        self._headers = {**JSON, **keys.headers(role)}
        self._urls = {path: yarl.URL(url + path) for path in ("/generate", "/v1/chat/completions")}
        self._aborts: set[asyncio.Task[None]] = set()
        self._watch = Watch(stall, self._signs)

    async def ask(self, path: str, data: bytes, rid: str, key: str, scores: bool, waited: Waited) -> Body:
        """The reply to one request, by the number ``rid``, of the chain ``key``. Raises Transient, Refused, and what
        aiohttp raises."""
        clock = asyncio.get_running_loop().time
        called, slots = clock(), self._scoring_limit if scores else self.limit
        self.asked += 1
        self.waiting += 1
        admitted = False
        try:
            async with slots:
                sent, admitted = clock(), True
                self.waiting -= 1
                waited.queued += sent - called
                if self.lost:
                    raise Lost
                try:
                    async with self._watch.request():
                        return await self._send(path, data, rid, key)
                finally:
                    waited.served += clock() - sent
        finally:
            self.asked -= 1
            self.waiting -= not admitted

    async def _send(self, path: str, data: bytes, rid: str, key: str) -> Body:
        if path == "/generate":
            data = b'%s,"rid":"%s"}' % (data[:-1], rid.encode())
        try:
            headers = {**self._headers, ROUTING_KEY: key}
            async with self._session.post(self._urls[path], data=data, headers=headers) as response:
                raw = await response.read()
        except asyncio.CancelledError:
            if path == "/generate":
                self._aborts.add(task := asyncio.create_task(self._abort(rid)))
                task.add_done_callback(self._aborts.discard)
            raise
        if retry.is_transient(response.status) or gateway.is_starting(response.status, response.headers):
            raise Transient(f"status {response.status}: {replies.excerpt(raw)}")
        if response.status != 200:
            raise Refused(f"{self.role} server refused a request, status {response.status}: {replies.excerpt(raw)}")
        return replies.body(raw)

    def count(self, counts: Counts) -> None:
        """One more answer."""
        self.requests += 1
        self.prompt_tokens += counts.prompt or 0
        self.cached_tokens += counts.cached or 0

    async def _abort(self, rid: str) -> None:
        """Tells the server not to go on with a request. Where that fails, the closed connection tells it later."""
        body = orjson.dumps({"rid": rid})
        for url in self.workers or [self.url]:
            with suppress(aiohttp.ClientError, TimeoutError, RuntimeError):  # the session may be closed by now
                async with self._session.post(
                    url + "/abort_request", data=body, headers=self._headers, timeout=ABORT
                ) as response:
                    await response.read()

    async def load(self) -> Load | None:
        """How busy the server is; None where it doesn't say (no --enable-metrics) or is lost."""
        if self.lost:
            return None
        headers = keys.headers(self.role)
        return together([await load(self._session, url, headers) for url in self.workers or [self.url]])

    async def _signs(self) -> Hashable | None:
        """What moves while the server works: its counters; without them, whether it can still generate a token."""
        found = await self.load()
        if found is not None:
            return found.progress
        for path in ("/health_generate", "/health"):
            status = await self._status(path)
            if status != 404:
                return asyncio.get_running_loop().time() if status == 200 else None
        return None

    async def healthy(self) -> bool:
        """Whether it can generate a token."""
        return await self._status("/health") == 200

    async def _status(self, path: str) -> int | None:
        try:
            async with self._session.get(self.url + path, timeout=LOOK, headers=keys.headers(self.role)) as reply:
                return reply.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def gone(self) -> bool:
        """Whether nothing answers there any more."""
        try:
            await get_page(self._session, self.url, "/get_model_info", self.role)
        except (aiohttp.ClientError, TimeoutError, Transient, ValueError):
            return True
        return False
