"""100,000 samples, 512 in flight: CPU a request, memory, open files, lag of the event loop.

    python scripts/figures/scale.py
    python scripts/figures/scale.py --in_flight 4096 --delay 2     # as many as 64 servers have
    python scripts/figures/scale.py --in_flight 4096 --delay 2 --processes 4     # from so many clients

The production queue, limits, client and loop (one model alone, one turn); results are counted and not
stored, so that the disk is not what is measured. Against a server that answers at once, which has
answered most requests before the next ones are sent; and against one that takes 0.1 s (--delay), so
that 512 truly are in flight. Several processes share samples and requests in flight evenly; memory and files are then
those of all, the lag that of the worst.
"""

import argparse
import asyncio
import gc
import os
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from client import IDS, INFO
from instant import running
from lag import lag
from show import show

from ATTS.console import event_loop, relieve_collector
from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain, ModelView
from ATTS.method.loop import alone
from ATTS.method.types import Transcript
from ATTS.runs.samples import Ended, run_samples
from ATTS.serving.client import SGLangModel
from ATTS.serving.limits import Limits
from ATTS.serving.server_info import new_session
from ATTS.store.records import Key, Keys
from ATTS.tasks.datasets import Question

REPEATS = 16


class Digits:
    """A tokenizer as cheap as can be."""

    def encode(self, text: str) -> list[int]:
        return [int(character) for character in text]

    def decode(self, ids: Any) -> str:
        return "".join(map(str, ids))


def memory() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Collector:
    """CPU seconds of garbage collection in the block."""

    seconds = 0.0
    _began = 0.0

    def __enter__(self) -> "Collector":
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "stop":
            self.seconds += now - self._began
        self._began = now


async def measure(url: str, samples: int, in_flight: int, turns: int) -> dict[str, Any]:
    questions = [Question(number, f"question {number}", "") for number in range(samples // REPEATS)]
    limits = Limits(in_flight)
    gate = limits.gate(in_flight)
    looks: list[tuple[int, int]] = []
    done = 0

    async with new_session(600) as session:
        model = SGLangModel(session, url, "instant", INFO, gate, 3)

        def loop(key: Key) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:  # noqa: ARG001
            reader = ModelView(model, Digits(), IDS, IDS, 500, 0.8)
            chain = Chain(lambda text, ended: None, reader)  # noqa: ARG005
            return chain, alone(chain, reader, turns)

        async def keep(ended: Ended) -> None:
            nonlocal done
            done += ended.status is ExitStatus.TURN_LIMIT
            if done % (samples // 10) == 0:
                looks.append((memory(), len(os.listdir(Path("/proc/self/fd")))))

        began, spent = time.perf_counter(), time.process_time()
        with Collector() as collector:
            async with lag() as lags:
                await run_samples(Keys(questions, REPEATS), loop, keep, limits.samples)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return {
        "samples": done,
        "samples_per_second": done / seconds,
        "cpu_microseconds_a_request": 1e6 * spent / done / turns,
        "of_it_collecting_garbage": 1e6 * collector.seconds / done / turns,
        "most_in_flight": gate.most_inside,
        "memory_by_tenths": [look[0] for look in looks],
        "memory_after_a_fifth": looks[1][0],
        "memory_at_the_end": looks[-1][0],
        "files_after_a_fifth": looks[1][1],
        "files_at_the_end": looks[-1][1],
        "lag_p99_milliseconds": 1000 * lags[int(0.99 * len(lags))],
        "lag_most_milliseconds": 1000 * lags[-1],
    }


def client(url: str, samples: int, in_flight: int, turns: int) -> dict[str, Any]:
    """One process's part."""
    relieve_collector()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(measure(url, samples, in_flight, turns))


def together(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several processes told, as one."""
    samples = sum(one["samples"] for one in told)
    means = ("cpu_microseconds_a_request", "of_it_collecting_garbage")
    worst = ("lag_p99_milliseconds", "lag_most_milliseconds")
    sums = {name for name in told[0] if isinstance(told[0][name], int | float)}.difference(means, worst)
    return {
        **{name: sum(one[name] for one in told) for name in sorted(sums)},
        **{name: sum(one[name] * one["samples"] for one in told) / samples for name in means},
        **{name: max(one[name] for one in told) for name in worst},
        "processes": list(told),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--in_flight", type=int, default=512)
    parser.add_argument("--turns", type=int, default=1, help="requests a sample")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds of the slower server")
    parser.add_argument("--processes", type=int, default=1, help="that share samples and requests in flight")
    args = parser.parse_args()
    table, figures = [], {}
    parts = (args.samples // args.processes, args.in_flight // args.processes, args.turns)
    for name, delay in (("at once", 0.0), (f"after {args.delay:g} s", args.delay)):
        with running(delay) as url, ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
            told = together([one.result() for one in [pool.submit(client, url, *parts) for _ in range(args.processes)]])
        early, late = told["memory_after_a_fifth"], told["memory_at_the_end"]
        figures[name] = {**told, "memory_ratio": late / early}
        table.append(
            [
                name,
                f"{told['samples']:,}",
                f"{args.turns * told['samples_per_second']:,.0f}",
                f"{told['cpu_microseconds_a_request']:.0f} ({told['of_it_collecting_garbage']:.0f})",
                f"{told['most_in_flight']:,}",
                f"{early / 1e6:.1f} / {late / 1e6:.1f} MB",
                f"{told['files_after_a_fifth']} / {told['files_at_the_end']}",
                f"{told['lag_p99_milliseconds']:.1f} / {told['lag_most_milliseconds']:.0f} ms",
            ]
        )
    columns = ["answers", "samples", "requests a second", "µs CPU a request (collecting garbage)", "in flight"]
    columns += ["memory after a fifth / at the end", "open files", "lag p99 / most"]
    show(columns, table, figures)


if __name__ == "__main__":
    main()
