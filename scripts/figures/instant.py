"""A server that answers at once (or after --delay seconds), as cheaply as asyncio can.

    python scripts/figures/instant.py --port 0

It reads requests by their Content-Length, looks at nothing in them, and always says the same four tokens.
"""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from sys import executable
from typing import cast

import orjson

from ATTS.console import event_loop

TOKENS = 4
_BODY = {
    "text": "1234",
    "output_ids": [1, 2, 3, 4],
    "meta_info": {
        "id": "0",
        "finish_reason": {"type": "length", "length": TOKENS},
        "prompt_tokens": 700,
        "completion_tokens": TOKENS,
        "cached_tokens": 600,
        "e2e_latency": 0.0,
    },
    # The same for clients of the chat endpoint:
    "object": "chat.completion",
    "id": "0",
    "created": 0,
    "model": "instant",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "1234"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 700, "completion_tokens": TOKENS, "total_tokens": 704},
}
_JSON = orjson.dumps(_BODY)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_JSON), _JSON)


class Instant(asyncio.Protocol):
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self._transport.write, REPLY)
            else:
                self._transport.write(REPLY)


@contextmanager
def running(delay: float = 0.0) -> Iterator[str]:
    """One in a process of its own; its URL."""
    command = [executable, __file__, "--port", "0", "--delay", str(delay)]
    with Popen(command, stdout=PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    args = parser.parse_args()
    Instant.delay = args.delay
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(_serve(args.port))


if __name__ == "__main__":
    main()
