"""The SGLang client: ``/generate`` with token ids, for writing and for scoring."""

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import aiohttp
import orjson

from ATTS.errors import ContextFull, ScoreFailed, ServerFailed, UserError
from ATTS.method.types import Generated, Usage
from ATTS.serving import affinity, replies, retry
from ATTS.serving.affinity import Affinity
from ATTS.serving.endpoint import Endpoint, Slots, Waited
from ATTS.serving.load import Load, together
from ATTS.serving.replicas import Replicas
from ATTS.serving.replies import Body, Content
from ATTS.serving.retry import BadScore, Stalled, Transient
from ATTS.serving.server_info import ServerInfo, get_page, named
from ATTS.serving.stall import STALL_SECONDS


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


class SGLangModel:
    """A served model (:class:`ATTS.method.types.LanguageModel`).

    ``limit`` bounds the requests in flight, ``scoring_limit`` those that score (None: the same
    limit counts both); waiting for it counts as queueing and is never held while a retry waits. ``stall``: seconds that
    the server may show no sign of life while requests wait. ``servers``: instead of one server, those that share the
    model's requests. A cancelled request is closed and, since a server notices that only after seconds, aborted by its
    number. Raises ContextFull before sending what can't fit, ServerFailed or ScoreFailed when one request fails for
    good, UserError when the last server has gone.
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
        one = Endpoint(session, url, role, info, limit, scoring_limit, stall)
        self._begin(Replicas([one]), retries, top_p, top_k)

    @classmethod
    def over(cls, servers: Replicas, retries: int, top_p: float = 1.0, top_k: int = -1) -> "SGLangModel":
        """A model that several servers may serve."""
        made = cls.__new__(cls)
        made._begin(servers, retries, top_p, top_k)
        return made

    def _begin(self, servers: Replicas, retries: int, top_p: float, top_k: int) -> None:
        self.servers, self.role, self.info = servers, servers.role, servers.info
        self._retries = retries
        self._sampling: dict[str, Any] = {"top_p": top_p} | ({"top_k": top_k} if top_k > 0 else {})

    @property
    def url(self) -> str:
        """Of the first server."""
        return self.urls[0]

    @property
    def direct(self) -> str:
        """Of a server itself, where the first is a gateway."""
        first = next(iter(self.servers))
        return next(iter(first.workers), first.url)

    @property
    def urls(self) -> list[str]:
        """Of all servers."""
        return [endpoint.url for endpoint in self.servers]

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
        return await self._generate(body, read, scores=True)

    async def _generate(
        self, body: Body, read: Callable[[Body], Content], scores: bool = False
    ) -> tuple[Content, Usage]:
        if not body["input_ids"] or min(body["input_ids"]) < 0:
            raise ValueError("a prompt needs token ids >= 0: anything else takes an SGLang server down")
        return await self.post("/generate", body, read, scores)

    async def post(
        self, path: str, body: Body, read: Callable[[Body], Content], scores: bool = False
    ) -> tuple[Content, Usage]:
        """Sends one request, and again if it fails in a way that may pass, which a reply does, too, in which ``read``
        doesn't find what it looks for. Raises ServerFailed, ScoreFailed, UserError."""
        with affinity.of_request() as who:
            return await self._post(path, body, read, scores, who)

    async def _post(
        self, path: str, body: Body, read: Callable[[Body], Content], scores: bool, who: Affinity
    ) -> tuple[Content, Usage]:
        data = bytes(memoryview(orjson.dumps(body)))  # a copy: orjson's own keeps a buffer of 28 times its length
        began, waited = asyncio.get_running_loop().time(), Waited()
        name = f"{self.servers.number}-{who.name}_t{who.asked[self.role]}"
        who.asked[self.role] += 1
        tries = count()
        failures: Counter[Endpoint] = Counter()
        last: Endpoint | None = None

        async def attempt() -> tuple[Content, replies.Counts]:
            nonlocal last
            while True:
                # Where a request failed twice, another server may do better; its chain is computed again there.
                last = endpoint = self.servers.choose(who, [one for one, number in failures.items() if number > 1])
                rid = f"{name}_r{next(tries)}"  # each attempt its own: a server refuses one that it still works on
                try:
                    reply = await endpoint.ask(path, data, rid, who.name, scores, waited)
                    content, counts = replies.content(reply, lambda reply: (read(reply), replies.counts(reply)))
                    endpoint.count(counts)
                    return content, counts
                except retry.RETRIED as error:
                    if not await self.servers.lose(endpoint, error):
                        failures[endpoint] += 1
                        raise

        try:
            several = f"one of {len(self.servers)} {self.role} servers"
            what = several if len(self.servers) > 1 else f"{self.role} server at {self.url}"
            content, counts = await retry.call(attempt, self._retries, what)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            assert last is not None
            if await last.gone():
                raise self._lost(last, f"has gone ({retry.describe(error)}) and did not come back") from error
            raise ServerFailed(f"{self.role} server: {retry.describe(error)}") from error
        except Stalled as error:
            assert last is not None
            raise self._lost(last, f"hangs ({error})") from error
        except Transient as error:
            kind = ScoreFailed if isinstance(error, BadScore) else ServerFailed
            raise kind(f"{self.role} server: {error}") from error
        return content, Usage(
            prompt_tokens=counts.prompt or len(body.get("input_ids") or ()),
            cached_tokens=counts.cached or 0,
            completion_tokens=counts.completion or 0,
            queue_seconds=waited.queued,
            serve_seconds=waited.served,
            asked_at=began,
        )

    async def load(self) -> Load | None:
        """How busy its servers are; None where none says anything."""
        return together([await endpoint.load() for endpoint in self.servers])

    async def gone(self) -> bool:
        """Whether none of its servers answers any more."""
        for endpoint in self.servers:
            if not await endpoint.gone():
                return False
        return True

    def _lost(self, endpoint: Endpoint, what: str) -> UserError:
        which = f"the {self.role} server at {endpoint.url}"
        if len(self.servers) > 1:
            which = f"no {self.role} server is left: the last one, at {endpoint.url},"
        return UserError(
            f"{which} {what} over {self._retries} retries; restart it, then rerun the same command to resume"
        )
