"""The server: listens, answers, and stops in order."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from ATTS.api import app
from ATTS.api.pair import opened
from ATTS.api.settings import Http, ServeSettings
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.runs.parts import HOST
from ATTS.serving import keys

BACKLOG = 2048


async def serve(settings: ServeSettings) -> str:
    """Serves until interrupted; requests under way may finish. Raises UserError."""
    http = settings.http
    key = _key(http)
    with listening(http) as listener:
        async with opened(settings) as pair:
            server = Server(
                uvicorn.Config(
                    app.make(pair, key, lambda: server.should_exit),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    http="h11",
                    timeout_graceful_shutdown=max(1, round(http.grace_seconds)),
                )
            )
            host, port = listener.getsockname()[:2]
            print(f"http://{host}:{port}/v1 serves {http.served_model_name}; http://{host}:{port}/docs", flush=True)
            running = asyncio.create_task(server.serve([listener]))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                say("stopping; requests under way may finish")
                server.should_exit = True
                await running
    return "stopped"


class Server(uvicorn.Server):
    """One whose signals are the front door's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def listening(http: Http) -> Iterator[socket.socket]:
    """The socket, bound before any other work. Raises UserError."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        listener = socket.create_server((http.host, http.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(f"--host {http.host} --port {http.port}: {error.strerror or error}; choose another") from None
    with listener:
        yield listener


def _key(http: Http) -> str | None:
    """The clients' key. Raises UserError."""
    if http.api_key_env is None:
        if http.host not in (HOST, "localhost", "::1"):
            raise UserError(f"--host {http.host} lets other machines in: name a variable with a key by --api_key_env")
        return None
    key = keys.key(http.api_key_env)
    if key is None:
        raise UserError(f"--api_key_env: {http.api_key_env} is not set in the environment")
    return key
