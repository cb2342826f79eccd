"""The SGLang client: ``/generate`` with token ids, for writing and for scoring."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import orjson
import yarl

from ATTS.errors import ContextFull, Refused, ScoreFailed, ServerFailed, UserError
from ATTS.method.types import Generated, Usage
from ATTS.serving import keys, replies, retry
from ATTS.serving.load import Load, load
from ATTS.serving.replies import Body, Content
from ATTS.serving.retry import BadScore, Stalled, Transient
from ATTS.serving.stall import STALL_SECONDS, Watch

# uvicorn closes a connection that was idle for 5 s; a reused one must be younger.
KEEP_ALIVE_SECONDS = 3.0
CONNECT_SECONDS = 10.0
PROBE = aiohttp.ClientTimeout(total=15.0)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself. ``None`` where it (or a router before it) says nothing."""

    names: frozenset[str]  # served name, model path
    model_path: str
    tokenizer_path: str | None
    context_length: int | None  # tokens of prompt and continuation together
    version: str | None
    kv_tokens: int | None = None  # tokens that fit its memory, of all requests and of the prefix cache

    @property
    def returns_ids(self) -> bool:
        """Releases from 0.4.4 on return ``output_ids``; older ones only inside log-probabilities."""
        return self.version is not None and not self.continues_always

    @property
    def continues_always(self) -> bool:
        """Older releases continue a chat's final assistant message without being asked to."""
        return self.version is not None and self.version.startswith("0.4.")


def new_session(timeout: float) -> aiohttp.ClientSession:
    """One session for all servers; concurrency is limited by the callers, not by the pool."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def inspect(session: aiohttp.ClientSession, url: str, role: str, name: str) -> ServerInfo:
    """Asks the server at ``url`` who it is.

    Raises UserError if nothing answers there, if it is still loading, if it isn't an SGLang
    server, or if it serves another model than ``name``.
    """
    where = f"the {role} server at {url}"
    with _named(role, url, "SGLang"):
        get = partial(_get, session, url, role=role)
        info = await get("/get_model_info") or await get("/model_info")
        models = await get("/v1/models") or {}
        server = await get("/server_info") or await get("/get_server_info") or {}
    if not isinstance(info, dict) or "model_path" not in info:
        raise UserError(f"what answers at {url} is not an SGLang server: it has no /get_model_info")
    cards = [card for card in models.get("data", []) if isinstance(card, dict)]
    names = {str(info["model_path"])} | {str(card["id"]) for card in cards if "id" in card}
    if "served_model_name" in info:
        names.add(str(info["served_model_name"]))
    if name not in names:
        raise UserError(f"{where} serves {' / '.join(sorted(names))}, not {name}: check ports and model names")
    limits = [card.get("max_model_len") for card in cards]
    memory = server.get("max_total_num_tokens")
    limits += [server.get("context_length"), memory]
    return ServerInfo(
        names=frozenset(names),
        model_path=str(info["model_path"]),
        tokenizer_path=info.get("tokenizer_path"),
        context_length=min((int(limit) for limit in limits if limit), default=None),
        version=server.get("version"),
        kv_tokens=int(memory) if memory else None,
    )


async def inspect_openai(
    session: aiohttp.ClientSession, url: str, role: str, name: str, limit: int, retries: int
) -> "SGLangModel":
    """A model behind a server that has chat completions and nothing else. Raises UserError."""
    with _named(role, url, "OpenAI-compatible"):
        models = await _get(session, url, "/v1/models", role)
    try:
        names = frozenset(str(card["id"]) for card in models["data"])
    except (KeyError, TypeError):
        raise UserError(f"what answers at {url} is not an OpenAI-compatible server: it has no /v1/models") from None
    if name not in names:
        raise UserError(f"the {role} server at {url} serves {' / '.join(sorted(names))}, not {name}")
    info = ServerInfo(names, name, tokenizer_path=None, context_length=None, version=None)
    return SGLangModel(session, url, role, info, asyncio.Semaphore(limit), retries)


async def served_name(session: aiohttp.ClientSession, url: str, role: str) -> str:
    """What the server calls its model. Raises UserError."""
    with _named(role, url, "SGLang"):
        models = await _get(session, url, "/v1/models", role)
        try:
            return str(models["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ValueError("it has no /v1/models") from None


@contextmanager
def _named(role: str, url: str, kind: str) -> Iterator[None]:
    """Failures of the first requests to a server of this ``kind``, as what to do. Raises UserError."""
    try:
        yield
    except Transient as error:
        where = f"the {role} server at {url}"
        raise UserError(f"{where} is not ready ({error}); it may still be loading: wait and try again") from None
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise UserError(
            f"no server answers at {url} ({retry.describe(error)}); start the {role} server there, for"
            " example with scripts/launch_sglang_servers.sh, or give its port or URL"
        ) from None
    except (aiohttp.ClientError, ValueError) as error:
        reason = retry.describe(error)
        raise UserError(f"what answers at {url} is not an {kind} server: {reason}") from None


async def tokenized(session: aiohttp.ClientSession, url: str, role: str, name: str, text: str) -> list[int] | None:
    """The server's own ids of a text, without begin-of-text; None where it has no ``/tokenize`` (older releases,
    gateways) or answers in another form."""
    body = {"model": name, "prompt": text, "add_special_tokens": False}
    try:
        async with session.post(
            url + "/tokenize", data=orjson.dumps(body), headers=JSON | keys.headers(role), timeout=PROBE
        ) as response:
            if response.status != 200:
                return None
            reply = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    ids = reply.get("tokens") if isinstance(reply, dict) else None
    return ids if isinstance(ids, list) and all(isinstance(one, int) for one in ids) else None


async def _get(session: aiohttp.ClientSession, url: str, path: str, role: str) -> Any:
    """The JSON at ``path``, or None where the server has no such page. Raises UserError if it wants another key."""
    async with session.get(url + path, timeout=PROBE, headers=keys.headers(role)) as response:
        if response.status in (401, 403):
            raise keys.refused(role, url)
        if retry.is_transient(response.status):
            raise Transient(f"status {response.status}")
        if response.status != 200:
            return None
        return orjson.loads(await response.read())


Slots = AbstractAsyncContextManager[None]


class SGLangModel:
    """A served model (:class:`ATTS.method.types.LanguageModel`).

    ``limit`` bounds the requests in flight, ``scoring_limit`` those that score (None: the same
    limit counts both); waiting for it counts as queueing and is never held while a retry waits.
    ``stall``: seconds that the server may show no sign of life while requests wait. A
    cancelled request is closed, which makes the server abort it. Raises ContextFull before sending
    what can't fit, ServerFailed or ScoreFailed when one request fails for good, UserError when the server has gone.
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
        self._sampling = {"top_p": top_p} | ({"top_k": top_k} if top_k > 0 else {})
        self._watch = Watch(stall, self._signs)

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
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
            asked = clock()
            async with limit or self._limit:
                sent = clock()
                queued += sent - asked
                try:
                    async with self._watch.request():
                        reply = await self._send(path, data)
                finally:
                    served += clock() - sent
            return replies.content(reply, lambda reply: (read(reply), replies.counts(reply)))

        try:
            content, counts = await retry.call(attempt, self._retries, f"{self.role} server at {self.url}")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            if await self._gone():
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
        async with self._session.post(self._urls[path], data=data, headers=self._headers) as response:
            raw = await response.read()
            if retry.is_transient(response.status):
                raise Transient(f"status {response.status}: {replies.excerpt(raw)}")
            if response.status != 200:
                told = replies.excerpt(raw)
                raise Refused(f"{self.role} server refused a request, status {response.status}: {told}")
        return replies.body(raw)

    async def load(self) -> Load | None:
        """How busy the server is; None where it doesn't say (no --enable-metrics, a router)."""
        return await load(self._session, self.url, keys.headers(self.role))

    async def _signs(self) -> Hashable | None:
        """What moves while the server works: its counters; without them, whether it can still generate a token."""
        load = await self.load()
        if load is not None:
            return load.progress
        for path in ("/health_generate", "/health"):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(self.url + path, timeout=PROBE, headers=keys.headers(self.role)) as reply:
                    if reply.status != 404:
                        return asyncio.get_running_loop().time() if reply.status == 200 else None
        return None

    async def _gone(self) -> bool:
        try:
            await _get(self._session, self.url, "/get_model_info", self.role)
        except (aiohttp.ClientError, TimeoutError, Transient, ValueError):
            return True
        return False

    def _lost(self, what: str) -> UserError:
        return UserError(
            f"the {self.role} server at {self.url} {what} over {self._retries} retries; restart it and give the same"
            " command again"
        )
