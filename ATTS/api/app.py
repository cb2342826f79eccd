"""The application: paths of the OpenAI API, health, metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ATTS import __version__
from ATTS.api import prompts
from ATTS.api.bodies import Body, ChatBody, TextBody
from ATTS.api.door import Door
from ATTS.api.pair import Choice, Pair, Wanted
from ATTS.api.problems import BadRequest, NotFound, Refused
from ATTS.api.prompts import Prompts
from ATTS.api.replies import Chat, Reply, Text, as_json
from ATTS.api.settings import MOST_SAMPLES

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models")
CLIENT_LEFT = 499  # in the metrics only: nobody is there to be told
LONG_PROMPT = 20_000  # characters from which on a prompt is encoded beside the event loop
Result = TypeVar("Result")
Part = tuple[int, str]
Work = asyncio.Task[list[Choice]]


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


def make(pair: Pair, key: str | None, stopping: Callable[[], bool]) -> FastAPI:
    """The application over a pair. ``key``: of the clients; ``stopping``: whether no new request is wanted."""
    app = FastAPI(title="ATTS", version=__version__, description="A draft and a target model behind one address.")
    app.add_middleware(Door, key=key, stopping=stopping)
    name = pair.settings.http.served_model_name
    card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "atts"}

    @app.get("/health")
    async def health() -> Response:
        """200 while both servers of the pair answer and this one isn't about to stop; else 503."""
        if stopping():
            return JSONResponse({"status": "stopping"}, 503)
        missing = await pair.missing()
        if missing:
            return JSONResponse({"status": "unavailable", "missing": missing}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(pair.metrics.page(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """The one model."""
        _known(model, name)
        return card

    @app.post("/v1/chat/completions", responses={200: {"model": Chat}})
    async def chat(request: Request, body: ChatBody) -> Response:
        """Answers a conversation."""

        def prompt() -> list[Prompts]:
            system = pair.settings.http.default_system_message
            return [prompts.conversation(pair.draft, pair.target, body.messages, system)]

        return await answer(request, body, prompt, sum(len(one.text) for one in body.messages))

    @app.post("/v1/completions", responses={200: {"model": Text}})
    async def completions(request: Request, body: TextBody) -> Response:
        """Continues texts."""

        def prompt() -> list[Prompts]:
            return [prompts.plain(pair.draft, pair.target, text) for text in body.prompt]

        return await answer(request, body, prompt, sum(map(len, body.prompt)))

    async def answer(request: Request, body: Body, prompt: Callable[[], list[Prompts]], size: int) -> Response:
        _known(body.model, name)
        made = await asyncio.to_thread(prompt) if size > LONG_PROMPT else prompt()
        wanted = [one for prompt in made for one in [_wanted(pair, body, prompt)] * body.n]
        reply = Reply(name, isinstance(body, ChatBody), sum(len(one.target) for one in made))
        began, path = time.monotonic(), request.url.path
        parts: asyncio.Queue[Part | None] = asyncio.Queue()
        first = True

        def emit(index: int, text: str) -> None:
            nonlocal first
            if first:
                first = False
                pair.metrics.first_text(time.monotonic() - began)
            parts.put_nowait((index, text))

        def ended(status: int) -> None:
            pair.metrics.request(path, status, time.monotonic() - began)

        work = pair.start(wanted, emit)
        try:
            if not body.stream:
                choices = await unless_left(request, work)
                done = reply.whole(choices)
                rejected = sum(one.cost.rejected for one in choices)
                ended(200)
                return Response(
                    as_json(done), media_type="application/json", headers={"x-atts-rejected": str(rejected)}
                )
            work.add_done_callback(lambda _: parts.put_nowait(None))
            head = await unless_left(request, parts.get())
            if head is None and work.exception() is not None:  # it failed before there was any text
                await work
        except ClientLeft:
            work.cancel()
            ended(CLIENT_LEFT)
            return Response(status_code=CLIENT_LEFT)
        except BaseException:
            work.cancel()
            raise
        usage = body.stream_options is not None and body.stream_options.include_usage
        return Stream(_events(reply, head, parts, work, usage), work, ended)

    @app.exception_handler(Refused)
    async def refused(request: Request, problem: Refused) -> Response:
        pair.metrics.request(_path(request.url.path), problem.status, 0.0)
        return JSONResponse(problem.body(), problem.status, problem.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await refused(request, _explained(error))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        kind = BadRequest if error.status_code < 500 else Refused
        body = kind(f"{request.method} {request.url.path}: {error.detail}").body()
        return JSONResponse(body, error.status_code, error.headers)

    return app


class Stream(StreamingResponse):
    """Server-sent events, whose work is given up when the client leaves."""

    def __init__(self, events: AsyncIterator[bytes], work: Work, ended: Callable[[int], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._work, self._ended = work, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            finished = self._work.done() and not self._work.cancelled()
            self._work.cancel()
            self._ended(CLIENT_LEFT if not finished else 200 if self._work.exception() is None else 502)


async def _events(
    reply: Reply,
    head: Part | None,
    parts: "asyncio.Queue[Part | None]",
    work: Work,
    usage: bool,
) -> AsyncIterator[bytes]:
    """Each part as it comes, then the end, or the error that ended it."""
    part = head
    while part is not None:
        yield reply.part(*part)
        part = await parts.get()
    try:
        yield reply.last(await work, usage)
    except Refused as problem:
        body = JSONResponse(problem.body()).body
        yield b"data: " + bytes(body) + b"\n\n"


async def unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """What ``work`` comes to. Raises ClientLeft, and cancels it, when the client is gone before."""
    task = asyncio.ensure_future(work)
    left = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeft
    finally:
        left.cancel()
        task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _wanted(pair: Pair, body: Body, prompt: Prompts) -> Wanted:
    """A choice, by the body, the table of efforts and the server's flags. Raises BadRequest."""
    efforts = pair.settings.efforts
    if body.reasoning_effort is not None and body.reasoning_effort not in efforts:
        raise BadRequest(f"reasoning_effort is one of {', '.join(efforts)} here", "reasoning_effort")
    effort = efforts.get(body.reasoning_effort or "")
    samples = body.samples or (effort and effort.samples) or 1
    if body.n * samples > MOST_SAMPLES:
        raise BadRequest(f"n times samples must be at most {MOST_SAMPLES}", "n")
    rate, turns = pair.run.scoring.rejection_rate, pair.run.samples.turns
    if effort is not None:
        rate = rate if effort.rate is None else effort.rate
        turns = turns if effort.turns is None else effort.turns
    return Wanted(
        prompts=prompt,
        rate=rate,
        turns=turns,
        samples=samples,
        whole=body.stop_rule == "none",
        max_tokens=body.most_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=body.stop,
        seed=body.seed,
    )


def _known(model: str, name: str) -> None:
    if model != name:
        raise NotFound(f"there is no model {model!r} here, only {name!r}", "model", "model_not_found")


def _explained(error: RequestValidationError) -> BadRequest:
    """The first thing that is wrong with a body."""
    first = error.errors()[0]
    place = ".".join(str(one) for one in first["loc"] if one != "body")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return BadRequest(f"the body is not JSON: {first.get('ctx', {}).get('error', message)}")
    if first["type"] == "extra_forbidden":
        message = "there is no such field here"
    return BadRequest(f"{place}: {message}" if place else message, place or None)


def _path(path: str) -> str:
    """What the metrics call it: clients can ask for any."""
    return path if path in PATHS else "other"
