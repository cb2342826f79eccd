"""Commands that are killed at random moments and given again.

    python scripts/figures/kills.py --kills 200
    python scripts/figures/kills.py --kills 50 --signal TERM INT
    python scripts/figures/kills.py --kills 20 --what calibration re_extraction comparison frontier search

Runs of 400 samples over emulated servers, 16 requests in flight; begun anew in an empty folder whenever one has come to
its end. Lost: what was finished and is gone or another later. Doubled: what is there twice. Torn: files that are no
JSON. Processes: those that a killed command left behind. Same: whether every text, score and decision is that of a run
that nobody disturbed. Again: requests over those of that run, for each kill.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from emulated import Count, data_set, forked, pair, waited
from interrupted import WHAT, Flags, Work
from show import show

GONE_SECONDS = 5.0  # in which what a killed command had started must have ended
COLUMNS = (
    *("what", "signal", "kills", "lost", "doubled", "torn", "tracebacks", "processes", "same", "left", "requests"),
    *("again, for each kill", "slowest end, s"),
)


@dataclass
class Disturbed:
    """Ends a command by a signal, again and again, and counts what was wrong after any.

    ``span``: requests, or trials of a search, after which a command is ended at the latest.
    """

    work: Work
    number: int
    count: Count
    span: float
    dice: random.Random

    def once(self, flags: Flags, folder: Path, most: int) -> Counter[str]:
        """One command until its end, ended at most ``most`` times on the way."""
        settings, wrong, slowest = self.work.settings(flags, folder), Counter[str](kills=0), 0.0
        stored: dict[str, bytes] = {}
        while True:
            process = forked(settings, self.work.command, folder / "log")
            if self._ends(process, folder, never=wrong["kills"] >= most):
                break
            began, started = time.monotonic(), psutil.Process(process).children(recursive=True)
            os.kill(process, self.number)
            status = waited(process)
            slowest = max(slowest, time.monotonic() - began)
            wrong["kills"] += 1
            wrong["processes"] += len(psutil.wait_procs(started, timeout=GONE_SECONDS)[1])
            try:
                now = self.work.finished(folder)
            except ValueError:
                wrong["torn"] += 1
                continue
            wrong["lost"] += sum(now.get(name) != content for name, content in stored.items())
            stored = now
            if status == 0:  # it had just finished
                break
        text = (folder / "log").read_text()
        wrong["tracebacks"] = text.count("Traceback") + text.count("TRACEBACK")
        self.slowest = slowest
        return wrong

    def _ends(self, process: int, folder: Path, never: bool) -> bool:
        """Waits until the command has ended by itself, or until it is time to end it."""
        after = self.dice.uniform(0, self.span)
        begun = self._done(folder)
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                assert os.waitstatus_to_exitcode(status) == 0, "the command failed"
                return True
            if not never and self._done(folder) >= begun + after:
                return False
            time.sleep(0.0005)

    def _done(self, folder: Path) -> int:
        return self.work.done(folder) if self.work.done else self.count.value


def leftovers(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if ".tmp" in path.name or "under_way" in path.name
    ]


def measure(what: str, kills: int, number: int, seed: int, questions: int = 25) -> dict[str, Any]:
    work = WHAT[what]
    with tempfile.TemporaryDirectory() as place, pair(writer=work.writer) as (urls, count):
        parent = Path(place)
        flags = {**urls, "dataset_name": data_set(parent, questions)}
        model = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{urls['eval_model_url']}/v1", "OPENAI_MODEL": "t"}
        os.environ.update(model)

        def prepared(name: str) -> Path:
            (parent / name).mkdir()
            work.prepared(parent / name, questions)
            return parent / name

        whole = prepared("whole")
        process = forked(work.settings(flags, whole), work.command, whole / "log")
        assert waited(process) == 0, (whole / "log").read_text()
        asked, right = count.value, work.outcome(whole)
        span = work.done(whole) / 4 if work.done else max(40.0, 3 * asked / kills)
        disturbed = Disturbed(work, number, count, span, random.Random(seed))
        found, left, same, slowest, rounds = Counter[str](), list[str](), True, 0.0, 0
        while found["kills"] < kills:
            folder, rounds = prepared(f"killed{rounds}"), rounds + 1
            found += disturbed.once(flags, folder, kills - found["kills"])
            slowest = max(slowest, disturbed.slowest)
            left += leftovers(folder)
            same = same and work.outcome(folder) == right
            found["doubled"] += len(work.names(folder)) - len(set(work.names(folder)))
        names = ("kills", "lost", "doubled", "torn", "tracebacks", "processes")
        return {
            "what": what,
            "signal": signal.Signals(number).name,
            **{name: found[name] for name in names},
            "same": same,
            "left": left,
            "rounds": rounds,
            "requests": asked,
            "again_a_kill": (count.value - (1 + rounds) * asked) / found["kills"],
            "slowest_end": slowest,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signal", default=["KILL"], nargs="+", choices=("KILL", "TERM", "INT"))
    parser.add_argument("--what", default=["run"], nargs="+", choices=tuple(WHAT))
    parser.add_argument("--questions", type=int, default=25, help="16 samples each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have ignored in the background
    found = []
    for what, name in product(args.what, args.signal):
        found.append(measure(what, args.kills, signal.Signals[f"SIG{name}"], args.seed, args.questions))
        print(found[-1], file=sys.stderr, flush=True)
    rows = [
        [*(one.get(name) for name in COLUMNS[:-2]), f"{one['again_a_kill']:.1f}", f"{one['slowest_end']:.2f}"]
        for one in found
    ]
    show(COLUMNS, rows, {"commands": found})


if __name__ == "__main__":
    main()
