"""What the server costs beside a run: CPU a turn of both, over the same emulated pair in another process.

    python scripts/figures/serve_overhead.py

Every sample has the same turns, of which a coin hands 40 % to the target. The run is ``ref_async`` with its folder; the
server answers the same questions over HTTP, whole and streamed.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
from show import show

from ATTS.console import event_loop, relieve_collector
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings

NAMES = {"small_model_name": "draft-model", "eval_model_name": "target-model"}
TURNS, CHUNK, IN_FLIGHT = 10, 100, 64
TICK = os.sysconf("SC_CLK_TCK")


def write(ask: Ask) -> Written:
    """A chunk of 100 tokens, never an answer."""
    return Written("0123456789" * (CHUNK // 10 if ask.max_new_tokens >= CHUNK else 1), "length")


async def emulate() -> None:
    """Both servers, until interrupted; their addresses on the first line."""
    content = Scripted(write, lambda ask, start: [-0.5] * len(ask.ids[start:]))
    draft, target = (Server(Served(role=role, name=f"{role}-model", content=content)) for role in ("draft", "target"))
    async with draft, target:
        print(draft.url, target.url, flush=True)
        await asyncio.Event().wait()


@contextmanager
def process(*command: str) -> Iterator[tuple[int, list[str]]]:
    """Number and the first line's words of a process, which is stopped at the end."""
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        assert child.stdout is not None
        yield child.pid, child.stdout.readline().split()
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def cpu(pid: int) -> float:
    """Seconds that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICK


def questions(count: int) -> list[str]:
    return [f"question {number}: how much is it?" for number in range(count)]


def of_a_run(flags: dict[str, object], count: int) -> float:
    """CPU seconds of ref_async with so many questions."""
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f'{{"problem": "{question}", "answer": "1"}}\n' for question in questions(count))
        (Path(folder) / "q.jsonl").write_text(rows)
        own = {"dataset_name": f"{folder}/q.jsonl", "output_dir": Path(folder) / "out", "repeats": 1}
        settings = make(AsyncSettings, **flags, **own)
        before = time.process_time()
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(evaluate_async(settings, per_question=False))
        return time.process_time() - before


async def asked(url: str, count: int, stream: bool) -> None:
    """So many questions to the server, at most 64 at a time."""
    left = iter(questions(count))
    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=600) as client:

        async def worker() -> None:
            create = client.chat.completions.create
            for question in left:
                if stream:
                    async for _ in await create(
                        model="atts", messages=[{"role": "user", "content": question}], stream=True
                    ):
                        pass
                else:
                    await create(model="atts", messages=[{"role": "user", "content": question}])

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(worker())


def of_the_server(flags: dict[str, object], count: int, stream: bool) -> float:
    """CPU seconds of the server for so many requests."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    with process("-m", "ATTS.serve", *words, "--port", "0") as (pid, (url, *_)):
        asyncio.run(asked(url, IN_FLIGHT, stream))
        before = cpu(pid)
        asyncio.run(asked(url, count, stream))
        return cpu(pid) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--emulate", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.emulate:
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(emulate())
    turns, figures = args.samples * TURNS, {}
    with process(__file__, "--emulate") as (_, (draft, target)):
        limits = {"small_model_concurrency": 16, "eval_model_concurrency": 16}
        length = {"small_model_max_tokens": CHUNK, "evalator_max_tokens": CHUNK, "turns": TURNS}
        urls = {"small_model_url": draft, "eval_model_url": target}
        flags: dict[str, object] = {**NAMES, **urls, **limits, **length, "takeover": "random"}
        relieve_collector()
        of_a_run(flags, IN_FLIGHT)  # imports
        figures["ref_async"] = of_a_run(flags, args.samples) / turns
        figures["serve"] = of_the_server(flags, args.samples, stream=False) / turns
        figures["serve, streaming"] = of_the_server(flags, args.samples, stream=True) / turns
    rows = [
        [name, f"{1e3 * value:.2f} ms", f"{1e3 * (value - figures['ref_async']):+.2f} ms"]
        for name, value in figures.items()
    ]
    show(["", "CPU a turn", "more than ref_async"], rows, figures)


if __name__ == "__main__":
    main()
