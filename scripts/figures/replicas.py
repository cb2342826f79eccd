"""Several servers a side: what stays cached, how even the work is, and what a server that dies costs.

    python scripts/figures/replicas.py shares      # 1, 2 and 4 emulated servers a side
    python scripts/figures/replicas.py shares --draft URL URL --target URL URL --flags "--dataset_name demo ..."
    python scripts/figures/replicas.py failover    # kill -9 and SIGSTOP: seconds until its requests are elsewhere
    python scripts/figures/replicas.py kills       # 20 kills in runs of 2 and 2: the same samples as without?

Each emulated server is a process of its own. For *shares* a chunk's text is random, so that samples of a question
differ behind their prompt; for *kills* texts and scores follow from the prompt, so that two runs must be equal in every
text, score and decision.
"""

import argparse
import asyncio
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from emulated import ONCE, PAIR, chance, data_set, told
from show import show

from ATTS.emulator import Ask, Scripted, Served, Server, Timing, Written
from ATTS.flags import make, parse
from ATTS.runs import rules
from ATTS.runs.evaluate import connected, evaluate_async
from ATTS.runs.questions import to_evaluate
from ATTS.runs.run import Run
from ATTS.runs.settings import AsyncSettings

WORDS = 40  # of a chunk, about two tokens each
KV = 200_000  # tokens of a server's memory
ROLES = ("draft", "target")


def _content(random_text: bool, count: "Synchronized[int]") -> Scripted:
    dice = random.Random(os.getpid())

    def write(ask: Ask) -> Written:
        count.value += 1
        own = dice if random_text else chance(ask.role, ask.text)
        words = " ".join(str(own.randrange(10**3)) for _ in range(own.randint(WORDS // 2, WORDS)))
        return Written(f" {words}" + (r" so \boxed{7}" if own.random() < 0.1 else ""), "length")

    def scores(ask: Ask, start: int) -> list[float | None]:
        count.value += 1
        own = chance(ask.text)
        return [-2 * own.random() for _ in ask.ids[start:]]

    return Scripted(write, scores)


def _serve(role: str, port: int, random_text: bool, count: "Synchronized[int]", urls: Connection) -> None:
    async def main() -> None:
        step = {"draft": 0.001, "target": 0.002}[role]
        timing = Timing(step_seconds=step, prefill_tokens_per_second=5e4, kv_tokens=KV)
        served = Served(role=role, name=role[0], content=_content(random_text, count), timing=timing, port=port)
        async with Server(served) as server:
            urls.send((os.getpid(), server.url))
            await asyncio.Event().wait()

    asyncio.run(main())


def _keep(role: str, random_text: bool, count: "Synchronized[int]", orders: Connection) -> None:
    """Starts the server whenever it is told to."""
    port, child, parent = 0, 0, os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            while not orders.poll(1.0):
                if os.getppid() != parent:  # which was killed: nobody ends this process
                    return
            orders.recv()
            if child:
                os.waitpid(child, 0)
            mine, its = ONCE.Pipe()
            child = os.fork()
            if not child:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _serve(role, port, random_text, count, its)
            pid, url = mine.recv()
            port = int(url.rpartition(":")[2])
            orders.send((pid, url))
    finally:
        if child:
            os.kill(child, signal.SIGKILL)


class Kept:
    """One emulated server, that can be killed and started again at its port."""

    def __init__(self, role: str, random_text: bool, count: "Synchronized[int]") -> None:
        self.role = role
        self._orders, its = ONCE.Pipe()
        self.keeper = ONCE.Process(target=_keep, args=(role, random_text, count, its))
        self.keeper.start()
        self.start()

    def start(self) -> None:
        self._orders.send(None)
        self.pid, self.url = self._orders.recv()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


@contextmanager
def servers(each: int, random_text: bool = False) -> Iterator[tuple[dict[str, list[Kept]], "Synchronized[int]"]]:
    """So many a side, and how many requests they had."""
    count = ONCE.Value("q", 0)
    found = {role: [Kept(role, random_text, count) for _ in range(each)] for role in ROLES}
    try:
        yield found, count
    finally:
        for one in (*found["draft"], *found["target"]):
            one.keeper.terminate()
            one.keeper.join()


def flags(found: dict[str, list[Kept]], folder: Path, questions: int, **more: Any) -> AsyncSettings:
    urls = {"small_model_url": tuple(one.url for one in found["draft"])}
    urls["eval_model_url"] = tuple(one.url for one in found["target"])
    run: dict[str, Any] = {
        "repeats": 16,
        "turns": 8,
        "takeover": "random",
        "rejection_rate": 0.4,
        "quiet": True,
        "max_retries": 8,
    }
    run["use_chat_template"] = True  # a chain is one line to the target, too
    chunks = {"small_model_max_tokens": 100, "evalator_max_tokens": 100, "output_dir": folder / "run"}
    own = {"dataset_name": data_set(folder, questions)}
    return make(AsyncSettings, **{**PAIR, **urls, **run, **chunks, **own, **more})


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def shares(settings: AsyncSettings) -> tuple[list[object], dict[str, Any]]:
    """Of one run: what was cached and how even the work was, by side."""
    folder = asyncio.run(evaluate_async(settings, per_question=False))
    of_run = summary(folder)
    row: list[object] = [f"{len(settings.draft.urls)} + {len(settings.target.urls)}"]
    figures: dict[str, Any] = {"wall": of_run["wall_seconds"], "samples": of_run["samples"]}
    for role in ROLES:
        reports = [report for name, report in of_run["servers"].items() if name.partition(" ")[0] == role]
        prompt = sum(report["prompt_tokens"] for report in reports)
        cached = sum(report["prompt_tokens"] * (report["cached_share"] or 0) for report in reports)
        work = [_work(report) for report in reports]
        own = {
            "cached": cached / prompt,
            "each": [report["cached_share"] for report in reports],
            "balance": max(work) / (sum(work) / len(work)),
            "moved": sum(report["chains_moved"] for report in reports),
            "requests": [report["requests"] for report in reports],
        }
        each = ", ".join(f"{100 * share:.1f}" for share in own["each"])
        row += [f"{100 * own['cached']:.1f} % ({each})", f"{own['balance']:.2f}", own["moved"]]
        figures[role] = own
    return [*row, of_run["samples"], f"{of_run['wall_seconds']:.1f}"], figures


def _work(report: dict[str, Any]) -> float:
    """Tokens that the server computed and wrote; prompt tokens where it has no page of metrics."""
    counted = report.get("by_its_metrics")
    if counted is None:
        return float(report["prompt_tokens"])
    return float(counted["prompt_tokens"] - counted["cached_tokens"] + counted["written_tokens"])


COLUMNS = ["servers", "cached, draft (each)", "busiest over mean", "moved"]
COLUMNS += ["cached, target (each)", "busiest over mean", "moved", "samples", "seconds"]


def emulated_shares(each: Sequence[int], questions: int) -> None:
    rows, figures = [], {}
    for count in each:
        with servers(count, random_text=True) as (found, _), tempfile.TemporaryDirectory() as place:
            row, figures[f"{count}"] = shares(flags(found, Path(place), questions))
            rows.append(row)
    show(COLUMNS, rows, figures)


def given_shares(draft: Sequence[str], target: Sequence[str], more: str) -> None:
    """On servers that are there."""
    with tempfile.TemporaryDirectory() as place:
        words = [*shlex.split(more), "--small_model_url", *draft, "--eval_model_url", *target]
        sys.argv = [sys.argv[0], *words, "--output_dir", place]
        row, figures = shares(parse(AsyncSettings, ""))
        show(COLUMNS, [row], figures)


async def failed_over(found: dict[str, list[Kept]], settings: AsyncSettings, number: int, after: int) -> dict[str, Any]:
    """Seconds from a signal to one target server until it is known as lost, and until its requests are elsewhere."""
    questions = to_evaluate(settings.data)
    decides = rules.make(settings, False, questions)
    clock = time.monotonic
    async with connected(settings, decides) as method:
        place = settings.output.output_dir
        assert place is not None
        run = Run(
            *("ref_async", settings, questions, [method.draft, method.target], method.limits, place, "queue", decides),
            under_way=method.under_way,
        )
        work = asyncio.create_task(run.finish(method.sample))
        victim = next(iter(method.target.model.servers))
        while victim.requests < after or not victim.asked:  # noqa: ASYNC110 - a server tells nothing
            await asyncio.sleep(0.001)
        asked, began = victim.asked, clock()
        found["target"][0].signal(number)
        while not victim.lost:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        noticed = clock() - began
        while victim.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        moved = clock() - began
        await work
    return {"under_way": asked, "noticed": noticed, "moved": moved, "status": summary(place)["by_status"]}


def failover(questions: int) -> None:
    rows, figures = [], {}
    for name, number, stall in (("kill -9", signal.SIGKILL, 120.0), ("SIGSTOP", signal.SIGSTOP, 5.0)):
        with servers(2) as (found, _), tempfile.TemporaryDirectory() as place:
            settings = flags(found, Path(place), questions, stall_timeout=stall)
            own = figures[name] = asyncio.run(failed_over(found, settings, number, 200))
            failed = {k: v for k, v in own["status"].items() if k not in ("answered", "turn_limit")}
            rows.append(
                [name, f"{stall:g}", own["under_way"], f"{own['noticed']:.2f}", f"{own['moved']:.2f}", failed or 0]
            )
    columns = ["signal", "--stall_timeout", "requests there", "known after (s)", "all elsewhere after (s)", "lost"]
    show(columns, rows, figures)


def _is_used(server: Kept) -> bool:
    """Whether it had a request since it was started."""
    with urllib.request.urlopen(f"{server.url}/emulated/chains", timeout=60) as reply:  # noqa: S310 - of this machine
        return bool(json.loads(reply.read()))


async def disturbed(
    found: dict[str, list[Kept]], count: "Synchronized[int]", settings: AsyncSettings, most: int, dice: random.Random
) -> int:
    """One run, in which one server after the other, at most ``most``, is killed at a random moment and started again.
    Returns how many."""
    before, done = count.value, 0
    work = asyncio.create_task(evaluate_async(settings, per_question=False))
    while count.value == before:  # noqa: ASYNC110 - a run doesn't begin where a server that it is given is down
        await asyncio.sleep(0.01)
    everybody = [one for role in ROLES for one in found[role]]
    while done < most and not work.done():
        await asyncio.sleep(dice.uniform(0.3, 1.0))
        if work.done():
            break
        victim = dice.choice(everybody)
        victim.signal(signal.SIGKILL)
        done += 1
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        await asyncio.to_thread(victim.start)
        # Else both of a side would be gone.
        while not work.done() and not await asyncio.to_thread(_is_used, victim):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await work
    return done


def killed(kills: int, questions: int, seed: int) -> None:
    """Runs, each in a new folder, until there were so many kills."""
    dice, sums = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place, servers(2) as (found, count):
        folder = Path(place)
        asyncio.run(evaluate_async(flags(found, folder, questions, output_dir=folder / "right"), per_question=False))
        right, asked = told(folder / "right"), count.value
        while sums["kills"] < kills:
            own = folder / f"run{sums['runs']}"
            # Few at a time, so that new chains find a server that is back.
            settings = flags(found, folder, questions, output_dir=own, samples_in_flight=32)
            left = kills - sums["kills"]
            sums["kills"] += asyncio.run(disturbed(found, count, settings, left, dice))
            now, of_run = told(own), summary(own)
            sums += Counter(
                runs=1,
                samples=len(now),
                owed=of_run["owed"],
                different=sum(one != other for one, other in zip(right, now, strict=True)),
                seconds=round(of_run["wall_seconds"]),
            )
            print(dict(sums), file=sys.stderr, flush=True)
        again = count.value - (1 + sums["runs"]) * asked
    figures = {name: sums[name] for name in ("kills", "runs", "samples", "owed", "different", "seconds")}
    columns = ["kills", "runs", "samples", "failed", "different from an undisturbed run", "seconds"]
    row: list[object] = list(figures.values())
    show([*columns, "requests again, a kill"], [[*row, f"{again / kills:.1f}"]], {**figures, "again": again})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("shares", "failover", "kills"))
    parser.add_argument("--questions", type=int, default=24, help="16 samples each")
    parser.add_argument("--each", type=int, nargs="+", default=[1, 2, 4], help="shares: servers a side")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draft", nargs="+", help="shares: servers that are there")
    parser.add_argument("--target", nargs="+")
    parser.add_argument("--flags", default="", help="of ref_async, for those")
    args = parser.parse_args()
    if args.what == "shares" and args.draft:
        given_shares(args.draft, args.target, args.flags)
    elif args.what == "shares":
        emulated_shares(args.each, args.questions)
    elif args.what == "failover":
        failover(args.questions)
    else:
        killed(args.kills, args.questions, args.seed)


if __name__ == "__main__":
    main()
