"""The application: paths of the OpenAI API, health, metrics."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ATTS import __version__
from ATTS.api import prompts
from ATTS.api.answer import answer
from ATTS.api.bodies import ChatBody, TextBody
from ATTS.api.door import Door
from ATTS.api.pair import Pair
from ATTS.api.problems import BadRequest, NotFound, Refused
from ATTS.api.prompts import Prompts
from ATTS.api.replies import Chat, Text

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models")


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
        _known(body.model, name)

        def prompt() -> list[Prompts]:
            system = pair.settings.http.default_system_message
            return [prompts.conversation(pair.draft, pair.target, body.messages, system)]

        return await answer(pair, request, body, prompt, sum(len(one.text) for one in body.messages))

    @app.post("/v1/completions", responses={200: {"model": Text}})
    async def completions(request: Request, body: TextBody) -> Response:
        """Continues texts."""
        _known(body.model, name)

        def prompt() -> list[Prompts]:
            return [prompts.plain(pair.draft, pair.target, text) for text in body.prompt]

        return await answer(pair, request, body, prompt, sum(map(len, body.prompt)))

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
    if first["type"] == "model_attributes_type" and not place:
        return BadRequest("the body must be a JSON object, sent with Content-Type: application/json")
    if first["type"] == "extra_forbidden":
        message = "there is no such field here"
    return BadRequest(f"{place}: {message}" if place else message, place or None)


def _path(path: str) -> str:
    """What the metrics call it: clients can ask for any."""
    return path if path in PATHS else "other"
