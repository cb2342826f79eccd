"""The server: listens, answers, and stops in order."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from ATTS.api import app
from ATTS.api.pair import Pair, opened
from ATTS.api.settings import Http, ServeSettings
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.runs.addresses import HOST
from ATTS.serving import keys

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75  # longer than clients keep idle connections (5 s to 60 s): they must not reuse one just closed


async def serve(settings: ServeSettings) -> str:
    """Serves until interrupted; requests under way may finish. Raises UserError."""
    async with serving(settings) as (url, _):
        print(f"{url}/v1 serves {settings.http.served_model_name}; {url}/docs", flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("stopping; requests under way may finish")
            return "stopped"
    raise AssertionError


@contextlib.asynccontextmanager
async def serving(settings: ServeSettings) -> AsyncIterator[tuple[str, Pair]]:
    """A running server's URL and its pair. Raises UserError."""
    http, key = settings.http, _key(settings.http)
    with listening(http) as listener:
        async with opened(settings) as pair:
            server = Server(
                uvicorn.Config(
                    app.make(pair, key, lambda: server.should_exit),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    http="h11",
                    ws="none",
                    timeout_keep_alive=KEEP_ALIVE_SECONDS,
                    timeout_graceful_shutdown=max(1, round(http.grace_seconds)),
                )
            )
            host, port = listener.getsockname()[:2]
            running = asyncio.create_task(server.serve([listener]))
            try:
                yield f"http://{f'[{host}]' if ':' in host else host}:{port}", pair
            finally:
                server.should_exit = True
                await running


class Server(uvicorn.Server):
    """One whose signals are the front door's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the console."""
        yield


@contextlib.contextmanager
def listening(http: Http) -> Iterator[socket.socket]:
    """The socket, bound before any other work. Raises UserError."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        listener = socket.create_server((http.host, http.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"--host {http.host} --port {http.port}: {os.strerror(error.errno or 0)}; choose another"
        ) from None
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
