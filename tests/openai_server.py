"""A server that speaks the OpenAI API over HTTP and misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-test"
Reply = str | tuple[Any, ...]  # a text, or a fault and its parameters


@dataclass
class Endpoint:
    """What was asked (the last message of each request, and when), and what to reply to it."""

    reply: Callable[[str, int], Reply]  # (message, how many times it was asked before) -> reply
    asked: list[tuple[str, float]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.url, "OPENAI_MODEL": "tiny"}


@contextmanager
def serve(reply: Callable[[str, int], Reply]) -> Iterator[Endpoint]:
    endpoint = Endpoint(reply)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message = body["messages"][-1]["content"]
            with lock:
                before = sum(text == message for text, _ in endpoint.asked)
                endpoint.asked.append((message, time.monotonic()))
                endpoint.bodies.append(body)
                endpoint.keys.add(self.headers["Authorization"])
            said = endpoint.reply(message, before)
            fault, *more = said if isinstance(said, tuple) else ("text", said)
            if fault == "hang":
                time.sleep(more[0])
                self.close_connection = True
                return
            if fault == "status":
                content = json.dumps({"error": {"message": f"no {KEY}"}}).encode()  # some endpoints repeat the key
                self.send(more[0], content, **(more[1] if len(more) > 1 else {}))
                return
            if fault == "refuse":
                self.send(400, json.dumps({"error": {"message": more[0]}}).encode())
                return
            answer = {"role": "assistant", "content": None if fault == "refusal" else more[0]}
            if fault == "refusal":
                answer["refusal"] = "I can't"
            if fault == "thoughts":  # as servers that tell thoughts apart
                answer |= {"content": None, "reasoning_content": more[0]}
            ended = "length" if fault == "cut" else "stop"
            completion = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [] if fault == "nothing" else [{"index": 0, "finish_reason": ended, "message": answer}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102},
            }
            content = json.dumps(completion).encode()
            self.send(200, content[: len(content) // 2] if fault == "torn" else content)

        def send(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
