"""From a request to its reply: the choices that it wants, at work while its client stays."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ATTS.api.bodies import Body, ChatBody
from ATTS.api.pair import Choice, Pair, Wanted
from ATTS.api.problems import BadRequest, Refused
from ATTS.api.prompts import Prompts
from ATTS.api.replies import Reply, as_json
from ATTS.api.settings import MOST_SAMPLES

CLIENT_LEFT = 499  # in the metrics only: nobody is there to be told
LONG_PROMPT = 20_000  # characters from which on a prompt is encoded beside the event loop
Result = TypeVar("Result")
Part = tuple[int, str]
Work = asyncio.Task[list[Choice]]


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def answer(pair: Pair, request: Request, body: Body, prompt: Callable[[], list[Prompts]], size: int) -> Response:
    """The reply to a request, streaming or not. ``prompt`` makes the prompts, of ``size`` characters in all."""
    name = pair.settings.http.served_model_name
    made = await asyncio.to_thread(prompt) if size > LONG_PROMPT else prompt()
    wanted = [one for prompt in made for one in [_wanted(pair, body, prompt)] * body.n]
    if sum(one.samples for one in wanted) > MOST_SAMPLES:
        raise BadRequest(f"a request may have at most {MOST_SAMPLES} samples, those of all its choices together", "n")
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
            return Response(as_json(done), media_type="application/json", headers={"x-atts-rejected": str(rejected)})
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
    rate, turns = pair.run.scoring.rejection_rate, pair.run.samples.turns
    if effort is not None:
        rate = rate if effort.rate is None else effort.rate
        turns = turns if effort.turns is None else effort.turns
    return Wanted(
        prompts=prompt,
        rate=rate,
        turns=turns,
        samples=samples,
        stop_rule=body.stop_rule,
        stop_threshold=body.stop_threshold,
        max_tokens=body.most_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=body.stop,
        seed=body.seed,
    )
