"""The SGLang client: ``/generate`` with token ids, for writing and for scoring."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import orjson
import yarl

from ATTS.errors import ContextFull, ScoreFailed, ServerFailed, UserError
from ATTS.method.types import Generated, Usage
from ATTS.serving import keys, retry
from ATTS.serving.load import Load, load
from ATTS.serving.retry import Transient

# uvicorn closes a connection that was idle for 5 s; a reused one must be younger.
KEEP_ALIVE_SECONDS = 3.0
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 120.0  # a server on a busy CPU answers after the batch that it works on, half a minute or more
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
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with session.post(
            url + "/tokenize", data=orjson.dumps(body), headers=JSON | keys.headers(role), timeout=timeout
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
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    async with session.get(url + path, timeout=timeout, headers=keys.headers(role)) as response:
        if response.status in (401, 403):
            raise keys.refused(role, url)
        if response.status in retry.TRANSIENT_STATUS:
            raise Transient(f"status {response.status}")
        if response.status != 200:
            return None
        return orjson.loads(await response.read())


Slots = AbstractAsyncContextManager[None]


class SGLangModel:
    """A served model (:class:`ATTS.method.types.LanguageModel`).

    ``limit`` bounds the requests in flight, ``scoring_limit`` those that score (None: the same
    limit counts both); waiting for it counts as queueing and is never held while a retry waits. A
    cancelled request is closed, which makes the server abort it. Raises ContextFull before sending
    what can't fit, ServerFailed when one request fails for good, UserError when the server has gone.
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
        body: dict[str, Any] = {"input_ids": list(ids), "sampling_params": sampling}
        if not self.info.returns_ids:
            body["return_logprob"] = True
        reply, usage = await self._generate(body)
        try:
            meta = reply["meta_info"]
            written = reply.get("output_ids")
            if written is None:
                written = [entry[1] for entry in meta["output_token_logprobs"]]
            finish = meta["finish_reason"]
            stopped = finish.get("matched") if finish["type"] == "stop" else None
            stopped = stopped if stopped in stop else None
            ended = finish["type"] == "stop" and stopped is None
            # Some releases count the end-of-text token among the ids, some don't.
            if ended and written and written[-1] == finish.get("matched"):
                written = written[:-1]
        except (KeyError, TypeError, IndexError) as error:
            raise ServerFailed(f"the {self.role} server's reply lacks {error}") from None
        if room < max_tokens and not ended and stopped is None and len(written) >= room:
            raise ContextFull(f"the chain has filled the {self.role}'s context of {self.info.context_length} tokens")
        return Generated(written, ended, usage, stopped)

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel. Position ``start - 1`` is asked for too and dropped: SGLang always
        leaves the first one empty. The prefix cache serves everything before it."""
        values, _, usage = await self._scored(ids, start, {})
        return values, usage

    async def logprobs_and_best(
        self, ids: Sequence[int], start: int
    ) -> tuple[list[float | None], list[float | None], Usage]:
        """See TellsBest: in the same request."""
        values, meta, usage = await self._scored(ids, start, {"top_logprobs_num": 1})
        try:
            best = [entry[0][0] for entry in meta["input_top_logprobs"][1:]]
        except (KeyError, TypeError, IndexError) as error:
            raise ScoreFailed(f"the {self.role} server returned no likeliest tokens ({error!r})") from None
        return values, best, usage

    async def _scored(
        self, ids: Sequence[int], start: int, more: Mapping[str, Any]
    ) -> tuple[list[float | None], dict[str, Any], Usage]:
        """Log-probabilities of ``ids[start:]`` and what else the server says of them."""
        if self.info.context_length is not None and len(ids) + 1 >= self.info.context_length:
            raise ContextFull(f"{len(ids)} tokens don't fit the {self.role}'s context of {self.info.context_length}")
        body = {
            "input_ids": list(ids),
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": start - 1,
            **more,
        }
        reply, usage = await self._generate(body, self._scoring_limit)
        try:
            meta = reply["meta_info"]
            entries = meta["input_token_logprobs"][1:]
            scored, values = [entry[1] for entry in entries], [entry[0] for entry in entries]
        except (KeyError, TypeError, IndexError) as error:
            raise ScoreFailed(f"the {self.role} server returned no log-probabilities ({error!r})") from None
        if scored != list(ids[start:]):
            raise ScoreFailed(f"the {self.role} server scored other tokens than it was sent")
        return values, meta, usage

    async def _generate(self, body: dict[str, Any], limit: Slots | None = None) -> tuple[dict[str, Any], Usage]:
        if not body["input_ids"] or min(body["input_ids"]) < 0:
            raise ValueError("a prompt needs token ids >= 0: anything else takes an SGLang server down")
        return await self.post("/generate", body, limit)

    async def post(self, path: str, body: dict[str, Any], limit: Slots | None = None) -> tuple[dict[str, Any], Usage]:
        """Sends one request, and again if it fails in a way that may pass. Raises ServerFailed, UserError."""
        data = orjson.dumps(body)
        clock = asyncio.get_running_loop().time
        began = clock()
        queued = served = 0.0

        async def attempt() -> dict[str, Any]:
            nonlocal queued, served
            asked = clock()
            async with limit or self._limit:
                sent = clock()
                queued += sent - asked
                try:
                    return await self._send(path, data)
                finally:
                    served += clock() - sent

        try:
            reply = await retry.call(attempt, self._retries, f"{self.role} server at {self.url}")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            if await self._gone():
                raise UserError(
                    f"the {self.role} server at {self.url} has gone ({retry.describe(error)}) and did not come"
                    f" back over {self._retries} retries; restart it and give the same command again"
                ) from error
            raise ServerFailed(f"{self.role} server: {retry.describe(error)}") from error
        except Transient as error:
            raise ServerFailed(f"{self.role} server: {error}") from error
        meta = reply.get("meta_info") or reply.get("usage") or {}
        return reply, Usage(
            prompt_tokens=int(meta.get("prompt_tokens") or len(body.get("input_ids") or ())),
            cached_tokens=int(meta.get("cached_tokens") or 0),
            completion_tokens=int(meta.get("completion_tokens") or 0),
            queue_seconds=queued,
            serve_seconds=served,
            asked_at=began,
        )

    async def _send(self, path: str, data: bytes) -> dict[str, Any]:
        async with self._session.post(self._urls[path], data=data, headers=self._headers) as response:
            raw = await response.read()
            if response.status in retry.TRANSIENT_STATUS:
                raise Transient(f"status {response.status}: {_excerpt(raw)}")
            if response.status != 200:
                raise ServerFailed(f"{self.role} server refused a request, status {response.status}: {_excerpt(raw)}")
        try:
            reply = orjson.loads(raw)
        except ValueError:
            raise Transient(f"a reply that is not JSON: {_excerpt(raw)}") from None
        if not isinstance(reply, dict):
            raise Transient(f"a reply that is not an object: {_excerpt(raw)}")
        finish = (reply.get("meta_info") or {}).get("finish_reason") or {}
        if isinstance(finish, dict) and finish.get("type") == "abort":
            raise Transient(f"the server aborted the request: {finish.get('message', 'no reason given')}")
        return reply

    async def load(self) -> Load | None:
        """How busy the server is; None where it doesn't say (no --enable-metrics, a router)."""
        return await load(self._session, self.url, keys.headers(self.role))

    async def _gone(self) -> bool:
        try:
            await _get(self._session, self.url, "/get_model_info", self.role)
        except (aiohttp.ClientError, TimeoutError, Transient, ValueError):
            return True
        return False


def _excerpt(raw: bytes) -> str:
    return raw[:300].decode("utf-8", "replace").strip() or "empty"
