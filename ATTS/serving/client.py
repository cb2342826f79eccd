"""The SGLang client: ``/generate`` with token ids, for writing and for scoring."""

import asyncio
import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import yarl

from ATTS.errors import ContextFull, Refused, ScoreFailed, ServerFailed, UserError
from ATTS.method.types import Generated, Usage
from ATTS.serving import keys, replies, retry
from ATTS.serving.load import Load, load
from ATTS.serving.replies import Body, Content
from ATTS.serving.retry import BadScore, Stalled, Transient
from ATTS.serving.server_info import JSON, ServerInfo, get_page, named
from ATTS.serving.stall import STALL_SECONDS, Watch

ABORT = aiohttp.ClientTimeout(total=5.0)
LOOK = aiohttp.ClientTimeout(total=15.0)


async def inspect_openai(
    session: aiohttp.ClientSession, url: str, role: str, name: str, limit: int, retries: int
) -> "SGLangModel":
    """A model behind a server that has chat completions and nothing else. Raises UserError."""
    with named(role, url, "OpenAI-compatible"):
        models = await get_page(session, url, "/v1/models", role)
    try:
        names = frozenset(str(card["id"]) for card in models["data"])
    except (KeyError, TypeError):
        raise UserError(f"what answers at {url} is not an OpenAI-compatible server: it has no /v1/models") from None
    if name not in names:
        raise UserError(f"the {role} server at {url} serves {' / '.join(sorted(names))}, not {name}")
    info = ServerInfo(names, name, tokenizer_path=None, context_length=None, version=None)
    return SGLangModel(session, url, role, info, asyncio.Semaphore(limit), retries)


Slots = AbstractAsyncContextManager[None]


class SGLangModel:
    """A served model (:class:`ATTS.method.types.LanguageModel`).

    ``limit`` bounds the requests in flight, ``scoring_limit`` those that score (None: the same
    limit counts both); waiting for it counts as queueing and is never held while a retry waits. ``stall``: seconds that
    the server may show no sign of life while requests wait. A cancelled request is closed and, since a server notices
    that only after seconds, aborted by its number. Raises ContextFull before sending what can't fit, ServerFailed or
    ScoreFailed when one request fails for good, UserError when the server has gone.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        role: str,
        info: ServerInfo,
        limit: Slots,
        retries: int,
        top_p: float = 1.0,
        top_k: int = -1,
        scoring_limit: Slots | None = None,
        stall: float = STALL_SECONDS,
    ) -> None:
        self.url = url
        self.role = role
        self.info = info
        self._session = session
        self._limit = limit
        self._scoring_limit = scoring_limit or limit
        self._headers = {**JSON, **keys.headers(role)}
        self._urls = {path: yarl.URL(url + path) for path in ("/generate", "/v1/chat/completions")}
        self._retries = retries
        self._aborts: set[asyncio.Task[None]] = set()
        self._sampling: dict[str, Any] = {"top_p": top_p} | ({"top_k": top_k} if top_k > 0 else {})
        self._watch = Watch(stall, self._signs)

    def sampling(self, **parameters: float | list[int]) -> "SGLangModel":
        """The same model behind the same limits, that writes with these sampling parameters of SGLang besides."""
        other = copy.copy(self)
        other._sampling = {**self._sampling, **parameters}
        return other

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        """See LanguageModel."""
        room = max_tokens
        if self.info.context_length is not None:
            room = min(max_tokens, self.info.context_length - len(ids) - 1)
        if room < 1:
            raise ContextFull(f"{len(ids)} tokens leave no room in the {self.role}'s {self.info.context_length}")
        sampling: dict[str, Any] = {"max_new_tokens": room, "temperature": temperature, **self._sampling}
        if stop:
            sampling |= {"stop": list(stop), "no_stop_trim": True}
        body: Body = {"input_ids": list(ids), "sampling_params": sampling}
        if not self.info.returns_ids:
            body["return_logprob"] = True
        (written, ended, stopped), usage = await self._generate(body, lambda reply: replies.written(reply, stop))
        if room < max_tokens and not ended and stopped is None and len(written) >= room:
            raise ContextFull(f"the chain has filled the {self.role}'s context of {self.info.context_length} tokens")
        return Generated(written, ended, usage, stopped)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel. Position ``start - 1`` is asked for too and dropped: SGLang always
        leaves the first one empty. The prefix cache serves everything before it."""
        return await self._scored(ids, start, {}, lambda reply: replies.scored(reply, ids, start))

    async def logprobs_and_best(
        self, ids: Sequence[int], start: int
    ) -> tuple[list[float | None], list[float | None], Usage]:
        """See TellsBest: in the same request."""

        def read(reply: Body) -> tuple[list[float | None], list[float | None]]:
            return replies.scored(reply, ids, start), replies.best(reply, len(ids) - start)

        (values, best), usage = await self._scored(ids, start, {"top_logprobs_num": 1}, read)
        return values, best, usage

    async def _scored(
        self, ids: Sequence[int], start: int, more: Mapping[str, Any], read: Callable[[Body], Content]
    ) -> tuple[Content, Usage]:
        """What ``read`` finds in the server's log-probabilities of ``ids[start:]``."""
        if self.info.context_length is not None and len(ids) + 1 >= self.info.context_length:
            raise ContextFull(f"{len(ids)} tokens don't fit the {self.role}'s context of {self.info.context_length}")
        body = {
            "input_ids": list(ids),
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": start - 1,
            **more,
        }
        return await self._generate(body, read, self._scoring_limit)

    async def _generate(
        self, body: Body, read: Callable[[Body], Content], limit: Slots | None = None
    ) -> tuple[Content, Usage]:
        if not body["input_ids"] or min(body["input_ids"]) < 0:
            raise ValueError("a prompt needs token ids >= 0: anything else takes an SGLang server down")
        return await self.post("/generate", body, read, limit)

    async def post(
        self, path: str, body: Body, read: Callable[[Body], Content], limit: Slots | None = None
    ) -> tuple[Content, Usage]:
        """Sends one request, and again if it fails in a way that may pass, which a reply does, too, in which ``read``
        doesn't find what it looks for. Raises ServerFailed, ScoreFailed, UserError."""
        data = orjson.dumps(body)
        clock = asyncio.get_running_loop().time
        began = clock()
        queued = served = 0.0

        async def attempt() -> tuple[Content, replies.Counts]:
            nonlocal queued, served
            called = clock()
            async with limit or self._limit:
                sent = clock()
                queued += sent - called
                try:
                    async with self._watch.request():
                        reply = await self._send(path, data)
                finally:
                    served += clock() - sent
            return replies.content(reply, lambda reply: (read(reply), replies.counts(reply)))

        try:
            content, counts = await retry.call(attempt, self._retries, f"{self.role} server at {self.url}")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            if await self.gone():
                raise self._lost(f"has gone ({retry.describe(error)}) and did not come back") from error
            raise ServerFailed(f"{self.role} server: {retry.describe(error)}") from error
        except Stalled as error:
            raise self._lost(f"hangs ({error})") from error
        except Transient as error:
            kind = ScoreFailed if isinstance(error, BadScore) else ServerFailed
            raise kind(f"{self.role} server: {error}") from error
        return content, Usage(
            prompt_tokens=counts.prompt or len(body.get("input_ids") or ()),
            cached_tokens=counts.cached or 0,
            completion_tokens=counts.completion or 0,
            queue_seconds=queued,
            serve_seconds=served,
            asked_at=began,
        )

    async def _send(self, path: str, data: bytes) -> Body:
        number = ""
        if path == "/generate":  # each attempt its own: a server refuses one that it still works on
            number = uuid4().hex
            data = b'%s,"rid":"%s"}' % (data[:-1], number.encode())
        try:
            async with self._session.post(self._urls[path], data=data, headers=self._headers) as response:
                raw = await response.read()
        except asyncio.CancelledError:
            if number:
                self._aborts.add(task := asyncio.create_task(self._abort(number)))
                task.add_done_callback(self._aborts.discard)
            raise
        if retry.is_transient(response.status):
            raise Transient(f"status {response.status}: {replies.excerpt(raw)}")
        if response.status != 200:
            raise Refused(f"{self.role} server refused a request, status {response.status}: {replies.excerpt(raw)}")
        return replies.body(raw)

    async def _abort(self, number: str) -> None:
        """Tells the server not to go on with a request. Where that fails, the closed connection tells it later."""
        with suppress(aiohttp.ClientError, TimeoutError, RuntimeError):  # the session may be closed by now
            url, body = self.url + "/abort_request", orjson.dumps({"rid": number})
            async with self._session.post(url, data=body, headers=self._headers, timeout=ABORT) as response:
                await response.read()

    async def load(self) -> Load | None:
        """How busy the server is; None where it doesn't say (no --enable-metrics, a router)."""
        return await load(self._session, self.url, keys.headers(self.role))

    async def _signs(self) -> Hashable | None:
        """What moves while the server works: its counters; without them, whether it can still generate a token."""
        load = await self.load()
        if load is not None:
            return load.progress
        for path in ("/health_generate", "/health"):
            try:
                async with self._session.get(self.url + path, timeout=LOOK, headers=keys.headers(self.role)) as reply:
                    if reply.status != 404:
                        return asyncio.get_running_loop().time() if reply.status == 200 else None
            except (aiohttp.ClientError, TimeoutError):
                return None
        return None

    async def gone(self) -> bool:
        """Whether nothing answers there any more."""
        try:
            await get_page(self._session, self.url, "/get_model_info", self.role)
        except (aiohttp.ClientError, TimeoutError, Transient, ValueError):
            return True
        return False

    def _lost(self, what: str) -> UserError:
        return UserError(
            f"the {self.role} server at {self.url} {what} over {self._retries} retries; restart it, then rerun"
            " the same command to resume"
        )
