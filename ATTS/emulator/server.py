"""An emulated SGLang server: the HTTP of :mod:`requests`, content of your choice, time by a model."""

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ATTS import demo
from ATTS.emulator import replies, requests
from ATTS.emulator.content import Ask, Content, Written
from ATTS.emulator.counters import Counters
from ATTS.emulator.engine import Engine, Job
from ATTS.emulator.faults import Fault, Kind, Plan
from ATTS.emulator.release import CURRENT, Release
from ATTS.emulator.requests import Deadly, Refused, Request
from ATTS.emulator.timing import Timing
from ATTS.serving.tokenizer import ModelTokenizer

INSTANT = Timing(speed=0)


@dataclass(frozen=True, kw_only=True)
class Served:
    """One server to emulate."""

    role: str  # what its content calls it
    name: str  # of the model, as clients name it
    content: Content
    tokenizer: str = str(demo.MODELS["target"])  # folder or hub id
    port: int = 0  # 0: a free one
    release: Release = CURRENT
    context_length: int = 131072
    timing: Timing = INSTANT
    faults: tuple[Fault, ...] = ()
    loading_seconds: float = 0.0  # answers 503 for so long
    seed: int = 0
    api_key: str = ""  # as --api-key: everything but health and metrics wants it


class Server:
    """A running one. ``async with Server(served) as server: ... server.url``."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.tokenizer = ModelTokenizer(served.tokenizer)
        self.counters = Counters(served.name)
        self._engine = Engine(served.timing)
        self._plan = Plan(served.faults, served.seed)
        self._numbers = itertools.count()
        self._running: dict[str, asyncio.Task[Any] | None] = {}  # handlers, by the number of their request
        self.chains: Counter[str] = Counter()  # requests by the chain that their numbers name, ATTS.serving.affinity
        self.aborts: list[str] = []  # numbers of the requests that clients asked to abort
        self._runner: web.AppRunner | None = None
        self._deaths: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> "Server":
        app = web.Application(client_max_size=2**30, middlewares=[self._errors])
        gets = {
            "/health": self._health,
            "/health_generate": self._health,
            "/get_model_info": self._model_info,
            "/get_server_info": self._server_info,
            "/v1/models": self._models,
            "/metrics": self._metrics,
            "/emulated/chains": self._chains,
        }
        posts = {"/generate": self._generate, "/v1/chat/completions": self._chat, "/flush_cache": self._flush}
        if self.served.release.aborts_by_number:
            posts["/abort_request"] = self._abort
        if self.served.release.has_server_info:
            gets |= {"/model_info": self._model_info, "/server_info": self._server_info}
            posts |= {"/tokenize": self._tokenize, "/v1/tokenize": self._tokenize}
        app.router.add_routes([web.get(path, handler) for path, handler in gets.items()])
        app.router.add_routes([web.post(path, handler) for path, handler in posts.items()])
        # A client that leaves cancels its handler, which is how SGLang aborts a request.
        self._runner = web.AppRunner(app, handler_cancellation=True, keepalive_timeout=5.0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.served.port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._started = time.monotonic()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._engine.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if time.monotonic() - self._started < self.served.loading_seconds:
            return web.Response(status=503)
        known = not self.served.api_key or request.headers.get("Authorization") == f"Bearer {self.served.api_key}"
        if not known and not request.path.startswith(("/health", "/metrics")):
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            return await handler(request)
        except Refused as refused:
            return web.json_response(replies.error(refused.status, str(refused)), status=refused.status)
        except Deadly:
            # A real server's process ends here: connections break, and nothing listens any more.
            if request.transport is not None:
                request.transport.abort()
            self._deaths.add(asyncio.create_task(self.__aexit__()))
            raise asyncio.CancelledError from None

    async def _health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        if self.served.release.has_server_info:  # the current release runs a generation to see that it can
            await self._engine.run(Job([0], 0, [0]))
        return web.Response()

    async def _model_info(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response(
            {"model_path": self.served.name, "tokenizer_path": self.served.tokenizer, "is_generation": True}
        )

    async def _server_info(self, request: web.Request) -> web.Response:  # noqa: ARG002
        served, told = self.served, self.served.release.tells_context
        return web.json_response(
            {
                "model_path": served.name,
                "served_model_name": served.name,
                "context_length": served.context_length if told else None,
                "max_req_input_len": served.context_length - served.release.longest_prompt_less,
                "max_total_num_tokens": served.timing.kv_tokens or None,
                "page_size": served.timing.page,
                "version": served.release.version,
                "emulated": True,
            }
        )

    async def _models(self, request: web.Request) -> web.Response:  # noqa: ARG002
        name, length = self.served.name, self.served.context_length
        card: dict[str, Any] = {"id": name, "object": "model", "owned_by": "sglang", "root": name}
        if self.served.release.tells_context:
            card["max_model_len"] = length
        return web.json_response({"object": "list", "data": [card]})

    async def _metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002
        page = self.counters.page(self._engine.load())
        return web.Response(text=page, content_type="text/plain")

    async def _chains(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response(self.chains)

    async def _tokenize(self, http: web.Request) -> web.Response:
        body = requests.parse_json(await http.read(), self.served.release.malformed)
        text = str(body.get("prompt", ""))
        special = bool(body.get("add_special_tokens", True))
        ids = self.tokenizer.plain_prompt(text) if special else self.tokenizer.begin(text)
        return web.json_response({"tokens": ids, "count": len(ids), "max_model_len": self.served.context_length})

    async def _generate(self, http: web.Request) -> web.StreamResponse:
        body = requests.parse_json(await http.read(), self.served.release.malformed)
        request = requests.generate(body, self.tokenizer, self.served.release, self.served.context_length)
        if request.rid:
            self.chains[request.rid.rpartition("_t")[0]] += 1
        return await self._serve(http, request, replies.generate)

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        body = requests.parse_json(await http.read(), self.served.release.malformed_chat)
        request = requests.chat(body, self.tokenizer, self.served.release, self.served.context_length)
        return await self._serve(http, request, replies.chat)

    async def _flush(self, http: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(status=200 if self._engine.flush() else 400)

    async def _abort(self, http: web.Request) -> web.Response:
        body = requests.parse_json(await http.read(), self.served.release.malformed)
        number = str(body.get("rid", ""))
        self.aborts.append(number)
        task = self._running.pop(number, None)
        if task is not None:
            task.cancel()
        return web.Response()

    async def _serve(self, http: web.Request, request: Request, body: replies.Format) -> web.StreamResponse:
        fault = self._plan.next()
        if fault is not None:
            await self._fail_early(http, fault)
        reply = self._say(request)
        if fault is not None and request.return_logprob:
            reply.spoil(fault.kind)
        received = time.perf_counter()
        job = Job(list(request.ids), max(0, request.start), list(reply.ids))
        self._running[reply.rid] = asyncio.current_task()
        try:
            with self.counters.request(reply):
                await self._engine.run(job)
                reply.cached = job.cached
        finally:
            self._running.pop(reply.rid, None)
        reply.seconds = time.perf_counter() - received
        data = json.dumps(_broken(body(reply), fault)).encode()
        if fault is not None and fault.kind is Kind.BAD_JSON:
            data = data[: len(data) // 2]
        if fault is not None and fault.kind is Kind.HALF:
            return await self._half(http, data)
        if fault is not None and fault.kind is Kind.DRIP:
            return await self._drip(http, data, fault.seconds)
        return web.Response(body=data, content_type="application/json")

    def _say(self, request: Request) -> replies.Reply:
        """What this server answers, before any waiting. Raises Refused for what its content doesn't know."""
        ask = Ask(
            self.served.role,
            request.assistant,
            request.text,
            request.ids,
            request.max_new_tokens,
            request.temperature,
            request.ignore_eos,
        )
        rid = request.rid or f"{self.served.role}-{next(self._numbers)}"
        reply = replies.Reply(self.served.name, self.served.release, request, rid)
        scores = request.return_logprob and request.start < len(request.ids)
        try:
            if scores:
                after_first = max(1, request.start + 1)
                known = self.served.content.logprobs(ask, after_first) if after_first < len(request.ids) else ()
                reply.logprobs = [None, *known]
                if request.top:
                    reply.tell_best(self.served.content.best(ask, known), known)
            if request.max_new_tokens and (request.token_ids or request.top):
                reply.tell_likely(self.served.content.likely(ask), self.tokenizer)
            most = request.max_new_tokens
            if most == 0 and self.served.release.zero_writes_one:
                most = 1
            if most == 1 and scores:  # the one token that a scoring request has to ask for is of no interest
                reply.write(Written(" "), most, self.tokenizer)
            elif most:
                reply.write(self.served.content.write(ask), most, self.tokenizer)
        except LookupError as error:
            raise Refused(400, str(error)) from error
        return reply

    async def _fail_early(self, http: web.Request, fault: Fault) -> None:
        if fault.kind is Kind.DELAY:
            await asyncio.sleep(fault.seconds)
        elif fault.kind is Kind.STATUS:
            raise Refused(fault.status, "a planned failure")
        elif fault.kind is Kind.HANG:
            await asyncio.sleep(math.inf)
        elif fault.kind is Kind.RESET and http.transport is not None:
            http.transport.abort()
            raise asyncio.CancelledError

    async def _drip(self, http: web.Request, data: bytes, seconds: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(data)
        await response.prepare(http)
        for byte in data:
            await response.write(bytes([byte]))
            await asyncio.sleep(seconds)
        return response

    async def _half(self, http: web.Request, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(data)
        await response.prepare(http)
        await response.write(data[: len(data) // 2])
        if http.transport is not None:
            http.transport.abort()
        return response


def _broken(body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
    """The body as a fault leaves it."""
    if fault is None or fault.kind not in (Kind.EMPTY, Kind.OTHER):
        return body
    if fault.kind is Kind.EMPTY:
        return {}
    for entry in body.get("meta_info", {}).get("input_token_logprobs", [])[-1:]:
        entry[1] += 1
    return {**body, "output_ids": [None]} if body.get("output_ids") else body
