"""The server of ATTS over an emulated pair, all in a thread of its own, for clients of any kind."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from chances import chance

from ATTS import console
from ATTS.api.pair import Pair
from ATTS.api.serve import serving
from ATTS.api.settings import ServeSettings
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.serving.load import Load, parse

PAIR = {"small_model_name": "draft-model", "eval_model_name": "target-model"}
ONLINE = {"calibration": "online"}
CHUNK = 24  # tokens


def write(ask: Ask) -> Written:
    """What follows from role and prompt alone: a step that goes on, or sometimes an answer from 0 to 2."""
    random = chance(ask.role, ask.text)
    if random.random() < 0.2:
        return Written(f" so \\boxed{{{random.randrange(3)}}}", "stop")
    return Written(f" {ask.role}{random.randrange(1000)} ünd.\n", "length")


def score(ask: Ask, start: int) -> list[float | None]:
    """A level for each text."""
    return [-chance("score", ask.text).random()] * (len(ask.ids) - start)


STEPS = Scripted(write, score)


@dataclass(frozen=True)
class ServedPair:
    """A running server: ``url`` of it, its pair, the two emulated servers, and the loop that all of them run in."""

    url: str
    pair: Pair
    draft: Server
    target: Server
    loop: asyncio.AbstractEventLoop
    http: httpx.Client  # one for all requests: each new one reads certificates for 50 ms

    def post(self, body: dict[str, Any], path: str = "chat/completions", **headers: str) -> httpx.Response:
        """The reply to a body of that path."""
        return self.http.post(f"{self.url}/v1/{path}", json={"model": "atts", **body}, headers=headers)

    def ask(self, text: str, **more: Any) -> dict[str, Any]:
        """The reply to one user message."""
        reply = self.post({"messages": [{"role": "user", "content": text}], **more})
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for what must come to hold; the test's own time limit is the only one."""
        while not holds():
            time.sleep(0.01)

    def idle(self) -> None:
        """Waits until nothing is under way, here and at the emulated servers."""
        self.until(lambda: self.pair.limits.samples.inside == 0)
        self.until(lambda: all(self.load(server).running == 0 for server in (self.draft, self.target)))

    def load(self, server: Server) -> Load:
        """What an emulated server's page of metrics says."""
        found = parse(self.http.get(f"{server.url}/metrics").text)
        assert found is not None
        return found


@contextmanager
def served_pair(
    content: Scripted = STEPS, draft: dict[str, Any] | None = None, target: dict[str, Any] | None = None, **flags: Any
) -> Iterator[ServedPair]:
    """``draft``, ``target``: of the emulated servers; ``flags``: of serve."""
    ready: Any = None
    client = httpx.Client(timeout=60)
    failure: BaseException | None = None
    began, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        nonlocal ready
        servers = [
            Server(Served(role=role, name=f"{role}-model", content=content, **(more or {})))
            for role, more in (("draft", draft), ("target", target))
        ]
        async with servers[0], servers[1]:
            urls = {"small_model_url": servers[0].url, "eval_model_url": servers[1].url}
            chunks = {"small_model_max_tokens": CHUNK, "evalator_max_tokens": CHUNK}
            settings = make(ServeSettings, **{**PAIR, **urls, **chunks, "port": 0, "grace_seconds": 1, **flags})
            async with serving(settings) as (url, pair):
                ready = ServedPair(url, pair, servers[0], servers[1], asyncio.get_running_loop(), client)
                began.set()
                await stop.wait()

    def main() -> None:
        nonlocal failure
        try:
            with asyncio.Runner(loop_factory=console.event_loop) as runner:
                runner.run(run())
        except BaseException as error:
            failure = error
        finally:
            began.set()

    thread = threading.Thread(target=main)
    thread.start()
    began.wait()
    try:
        if failure is not None:
            raise failure
        yield ready
    finally:
        client.close()
        if ready is not None:
            ready.loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failure is not None:
        raise failure


def array(folder: Path, count: int = 200) -> Path:
    """A marginal calibration array of the scores that :func:`score` gives."""
    path = folder / "array.npy"
    np.save(path, np.exp([chance("calibration", number).random() for number in range(count)]))
    return path
