"""What a server says of itself, asked before a run: which model it serves, its limits, its ids of a text."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import orjson

from ATTS.errors import UserError
from ATTS.serving import keys, retry
from ATTS.serving.retry import Transient

# uvicorn closes a connection that was idle for 5 s; a reused one must be younger.
KEEP_ALIVE_SECONDS = 3.0
CONNECT_SECONDS = 10.0
# A server on a busy CPU answers after the batch that it works on.
PROBE = aiohttp.ClientTimeout(total=120.0, sock_connect=CONNECT_SECONDS)
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
    page_size: int = 1  # tokens that the prefix cache keeps together: 64 on a B200

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
    with named(role, url, "SGLang"):
        get = partial(get_page, session, url, role=role)
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
    if not any(
        limits[:-1]
    ):  # 0.4.3 says neither, but the longest prompt that it takes, six tokens less than the context
        limits.append(server.get("max_req_input_len"))
    return ServerInfo(
        names=frozenset(names),
        model_path=str(info["model_path"]),
        tokenizer_path=info.get("tokenizer_path"),
        context_length=min((int(limit) for limit in limits if limit), default=None),
        version=server.get("version"),
        kv_tokens=int(memory) if memory else None,
        page_size=int(server.get("page_size") or 1),
    )


async def served_name(session: aiohttp.ClientSession, url: str, role: str) -> str:
    """What the server calls its model. Raises UserError."""
    with named(role, url, "SGLang"):
        models = await get_page(session, url, "/v1/models", role)
        try:
            return str(models["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ValueError("it has no /v1/models") from None


@contextmanager
def named(role: str, url: str, kind: str) -> Iterator[None]:
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


async def get_page(session: aiohttp.ClientSession, url: str, path: str, role: str) -> Any:
    """The JSON at ``path``, or None where the server has no such page. Raises UserError if it wants another key."""
    async with session.get(url + path, timeout=PROBE, headers=keys.headers(role)) as response:
        if response.status in (401, 403):
            raise keys.refused(role, url)
        if retry.is_transient(response.status):
            raise Transient(f"status {response.status}")
        if response.status != 200:
            return None
        return orjson.loads(await response.read())
