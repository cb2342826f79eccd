"""Do `priority` and `session_id` help, which SGLang takes with a request when it is started with flags of its own?

    python scripts/figures/server_hints.py

Real SGLang servers on the CPU with the demo pair. Each way is run --rounds times with and without the fields, in turns,
on the same servers, whose caches are emptied before each run; without sampling, so that the work is the same.

priority: the target (--enable-priority-scheduling --disable-priority-preemption) works on few requests at a time, and
the client sends it many more; requests that score come before those that write (scores), and older chains before
younger, too (older).
sessions: both servers (--enable-session-radix-cache) have memory for fewer tokens than the chains that are under way;
requests carry their chain's name, and a chain that has ended closes its session.

This package sends neither field, since neither makes runs shorter (docs/SCALE.md): the program adds them.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked_servers import ForkedServer
from real_replicas import forget
from show import show

from ATTS.calibration.calibrate import calibrate
from ATTS.console import event_loop
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.serving.affinity import Affinity
from ATTS.serving.capacity import QUEUE_POSITION
from ATTS.serving.endpoint import Endpoint
from ATTS.serving.replies import Body

MODELS = {"small_model": "demo-draft", "eval_model": "demo-target"}
CHUNK = 8
SCORES = b'"max_new_tokens":0'  # in the body of a request that scores
FIRST = 1_000_000  # above every position of a sample
VARIANTS = {"priority": ("no", "scores", "older"), "sessions": ("no", "yes")}
WAYS: dict[str, dict[str, Sequence[str]]] = {
    "priority": {
        "small_model": ("--max-total-tokens", "65536"),
        "eval_model": (
            *("--max-total-tokens", "65536", "--max-running-requests", "8"),
            *("--enable-priority-scheduling", "--disable-priority-preemption"),
        ),
    },
    "sessions": dict.fromkeys(MODELS, ("--enable-session-radix-cache",)),
}


@dataclass
class Seen:
    """Seconds at the target, by what was asked for."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"scores": [], "writes": []})


@contextmanager
def fields(sent: str) -> Iterator[Seen]:
    """Requests in the block carry the fields of this variant."""
    seen, send, leave = Seen(), Endpoint._send, Affinity.leave
    closing: set[asyncio.Task[None]] = set()
    chains: dict[str, set[Endpoint]] = {}

    async def marked(self: Endpoint, path: str, data: bytes, rid: str, key: str) -> Body:
        scores = SCORES in data
        if sent in ("scores", "older"):
            later = QUEUE_POSITION.get() if sent == "older" else 0
            data = b'%s,"priority":%d}' % (data[:-1], scores * FIRST - later)
        elif sent == "yes":
            data = b'%s,"session_id":"%s"}' % (data[:-1], key.encode())
            chains.setdefault(key, set()).add(self)
        began = time.monotonic()
        reply = await send(self, path, data, rid, key)
        if self.role == "target":
            seen.seconds["scores" if scores else "writes"].append(time.monotonic() - began)
        return reply

    async def close(endpoint: Endpoint, name: str) -> None:
        async with endpoint._session.post(f"{endpoint.url}/close_session", json={"session_id": name}) as reply:
            assert reply.status == 200, await reply.text()

    def left(self: Affinity) -> None:
        for endpoint in chains.pop(self.name, ()):
            closing.add(task := asyncio.create_task(close(endpoint, self.name)))
            task.add_done_callback(closing.discard)
        leave(self)

    Endpoint._send, Affinity.leave = marked, left  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Endpoint._send, Affinity.leave = send, leave  # type: ignore[method-assign]


def settings(servers: Sequence[ForkedServer], array: Path, **more: object) -> dict[str, Any]:
    """Flags of all commands."""
    urls = {f"{server.server.role}_url": (server.url,) for server in servers}
    names = {f"{role}_name": model for role, model in MODELS.items()}
    tokens = {"small_model_max_tokens": CHUNK, "small_model_temperature": 0.0, "use_chat_template": True}
    return {**urls, **names, **tokens, "dataset_name": "demo", "ppl_array_path": array, **more}


def measure(way: str, args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Every run of one way."""
    sizes = {role: tuple(words) for role, words in WAYS[way].items()}
    if way == "sessions":
        sizes = {role: (*words, "--max-total-tokens", str(args.tokens)) for role, words in sizes.items()}
    servers = [ForkedServer(role, model, folder / f"{way}_{role}.log", sizes[role]) for role, model in MODELS.items()]
    found = []
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        array = folder / f"{way}.npy"
        with asyncio.Runner(loop_factory=event_loop) as runner:
            given = settings(servers, array, max_problems=100, sample_size=1)
            runner.run(calibrate(make(ConformalSettings, **given), per_question=False))
        for number in range(args.rounds):
            for sent in VARIANTS[way][:: -1 if number % 2 else 1]:
                found.append(run(way, sent, servers, array, folder / f"{way}_{sent}_{number}", args))
                print(json.dumps(found[-1]), flush=True)
    finally:
        for server in servers:
            server.kill()
    return found


def run(
    way: str, sent: str, servers: Sequence[ForkedServer], array: Path, out: Path, args: argparse.Namespace
) -> dict[str, Any]:
    for server in servers:
        forget(server.url)
    limits = dict.fromkeys(("small_model_concurrency", "eval_model_concurrency", "samples_in_flight"), args.in_flight)
    more = {"evalator_max_tokens": CHUNK, "eval_model_temperature": 0.0, "turns": 60, "output_dir": out, "quiet": True}
    more |= {"max_problems": args.questions, "repeats": 1, **limits}
    with fields(sent) as seen, asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(evaluate_async(make(AsyncSettings, **settings(servers, array, **more)), per_question=False))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["owed"] == 0, summary
    result = {"way": way, "sent": sent, "seconds": summary["wall_seconds"]}
    result |= {f"target_{kind}": statistics.mean(values or [0.0]) for kind, values in seen.seconds.items()}
    for name, one in summary["servers"].items():
        result[f"cached_{name}"] = one["cached_share"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=list(WAYS), nargs="+", choices=tuple(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=192, help="in a run, a sample each")
    parser.add_argument("--in_flight", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=3072, help="that fit each server's memory, for sessions")
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as place:
        runs = [one for way in args.what for one in measure(way, args, Path(place))]
    columns = (
        "what",
        "sent",
        "runs",
        "seconds",
        "a score took, s",
        "a chunk of the target",
        "cached, draft, %",
        "target",
    )
    rows = []
    for way in args.what:
        for sent in VARIANTS[way]:
            own = [one for one in runs if (one["way"], one["sent"]) == (way, sent)]
            row: list[object] = [way, sent, len(own)]
            row += [spread([one[name] for one in own], 2) for name in ("seconds", "target_scores", "target_writes")]
            row += [spread([100 * one[f"cached_{name}"] for one in own], 1) for name in ("draft", "target")]
            rows.append(row)
    show(columns, rows, {"runs": runs})


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and from least to most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
