"""Real SGLang servers on the CPU that are killed (SIGKILL) in the middle of runs.

    python scripts/figures/server_kills.py --kills 20
    GATEWAY_PYTHON=/tmp/smg/bin/python python scripts/figures/server_kills.py --kills 20 --what replica gateway

The demo pair without sampling (temperature 0) and an array of its own. Draft, target and both are killed in random
order, each so many times, in two ways. Not started again: the command ends, the servers are started and the same
command follows. Started again at once: the command, with ten retries, goes on by itself. A run that has come to its
end begins anew in another folder. Replica: one of two target servers, in turns; the command goes on with the other,
and the next is killed when it has said that the first is back. Gateway: the one before two target servers.

Slowest: seconds from the kill to the end of the command; or to the first sample that is stored when the servers are
there again, and their start is part of these. Named: it says which server is gone. Lost: finished samples that are gone
or another later, and those missing at the end. Made up: scores that are none or differ by over one per cent from that
of the same chunk behind the same text in a run that nobody disturbed. Compared: of so many chunks there was one.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from forked_servers import ForkedServer
from show import show
from started_gateway import Gateway

from ATTS.store.records import OWED
from ATTS.store.result_folder import samples

MODELS = {"small_model": "demo-draft", "eval_model": "demo-target"}
SECOND, GATEWAY = "eval_model_2", "gateway"  # another target server, and what stands before both
KILLED = {"draft": ("small_model",), "target": ("eval_model",), "both": tuple(MODELS)}
KILLED |= {"replica": ("eval_model", SECOND), "gateway": (GATEWAY,)}  # of the replicas one
MAX_SECONDS = 120.0  # after which what has neither ended nor gone on is ended
RETRIES = {"no": 3, "yes": 10}  # as they are by default; 60 s in all
COLUMNS = ("killed", "started again", "kills", "named", "slowest, s", "other exit status", "tracebacks")


class Pair:
    """Draft and target, by one server each or (``what``: "replica", "gateway") two of the target, and commands that ask
    them."""

    def __init__(self, folder: Path, what: str = "") -> None:
        models = MODELS | ({SECOND: MODELS["eval_model"]} if what in ("replica", "gateway") else {})
        self._servers: dict[str, ForkedServer | Gateway] = {
            role: ForkedServer(role, model, folder / f"{role}.log") for role, model in models.items()
        }
        targets = [self._servers[role].url for role in models if role != "small_model"]
        if what == "gateway":
            self._servers[GATEWAY] = Gateway(targets, folder / "gateway.log")
            targets = [self._servers[GATEWAY].url]
        self._urls = {"small_model": [self._servers["small_model"].url], "eval_model": targets}
        self._array = folder / "array.npy"

    def start(self, roles: Sequence[str] = ()) -> None:
        """All, if none is named. Comes back at once."""
        for role in roles or self._servers:
            self._servers[role].start()

    def wait(self, roles: Sequence[str] = ()) -> None:
        for role in roles or self._servers:
            self._servers[role].wait()

    def kill(self, roles: Sequence[str] = ()) -> None:
        for role in roles or self._servers:
            self._servers[role].kill()

    def named(self, roles: Sequence[str], text: str) -> bool:
        """Whether it speaks of any of these servers."""
        return any(self._servers[role].url in text for role in roles)

    def calibrate(self) -> None:
        flags = self._flags(max_problems=20, sample_size=4)
        subprocess.run(self._command("ref_conformal", flags), check=True, stderr=subprocess.DEVNULL)  # noqa: S603

    def run(self, questions: int, folder: Path, retries: int) -> list[str]:
        """A run's command."""
        size = {"max_problems": questions, "sample_size": 4, "repeats": 1, "turns": 20, "evalator_max_tokens": 24}
        limits = {"samples_in_flight": 8, "max_retries": retries, "output_dir": folder}
        return self._command("ref_async", self._flags(**size, **limits))

    def _flags(self, **more: object) -> dict[str, object]:
        urls = {f"{role}_url": " ".join(urls) for role, urls in self._urls.items()}
        names = {f"{role}_name": model for role, model in MODELS.items()}
        common = {"dataset_name": "demo", "small_model_max_tokens": 24, "ppl_array_path": self._array}
        return {**names, **urls, **common, "small_model_temperature": 0, "eval_model_temperature": 0, **more}

    @staticmethod
    def _command(door: str, flags: dict[str, object]) -> list[str]:
        words = [word for name, value in flags.items() for word in (f"--{name}", *str(value).split(" "))]
        return [sys.executable, "-m", f"ATTS.{door}", *words, "--use_chat_template"]


def finished(folder: Path) -> dict[str, bytes]:
    """Samples that ended by themselves, as they are on the disk."""
    there = {sample["problem_index"] for sample in samples(folder) if sample["exit_status"] not in OWED}
    return {path.name: path.read_bytes() for path in folder.glob("problem_*.json") if int(path.stem[8:]) in there}


def scores(folder: Path) -> dict[tuple[Any, ...], float | None]:
    """Of every chunk, by its question and all that was written before it."""
    found = {}
    for sample in samples(folder):
        text = ""
        for entry in sample["full_history"]:
            text += entry.get("output") or ""
            if entry["model"] == "eval_ppl":
                found[sample["problem_index"], entry["turn"], text] = entry.get("ppl")
    return found


def made_up(score: float | None, right: float | None) -> bool:
    """Whether it isn't the score that it should be."""
    return score is None or right is None or abs(score - right) > 0.01 * right


@dataclass
class Disturbed:
    """Runs whose servers are killed, and all that was wrong after it.

    ``left``: which servers are still to be killed, in this order from the end; ``names``: all that there are.
    """

    pair: Pair
    questions: int
    again: str
    left: list[str]
    dice: random.Random
    until: float
    names: Sequence[str]
    kills: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter[str])

    def once(self, folder: Path, right: dict[tuple[Any, ...], float | None]) -> None:
        """One run until its end."""
        before: dict[str, bytes] = {}
        log, command = folder.with_suffix(".log"), self.pair.run(self.questions, folder, RETRIES[self.again])
        status = 2
        while status:
            with log.open("ab") as file, subprocess.Popen(command, stderr=file, stdout=file) as process:  # noqa: S603
                start = log.stat().st_size
                try:
                    while self.left and time.monotonic() < self.until and self._busy(process, folder):
                        self._kill(process, folder, log, start)
                        before = self._compared(before, finished(folder))
                    status = process.wait()
                except BaseException:
                    process.kill()
                    raise
            assert status in (0, 2), log.read_text()
        now = self._compared(before, finished(folder))
        self.counts["lost"] += self.questions - len(now)
        self.counts["tracebacks"] += log.read_text().count("Traceback")
        for chunk, score in scores(folder).items():
            self.counts["scores"] += 1
            if chunk in right:
                self.counts["compared"] += 1
                self.counts["made_up"] += made_up(score, right[chunk])

    @property
    def survives(self) -> bool:
        """Whether the command goes on by itself behind the next kill."""
        return self.again == "yes" or self.left[-1] == "replica"

    def _compared(self, before: dict[str, bytes], now: dict[str, bytes]) -> dict[str, bytes]:
        self.counts["lost"] += sum(now.get(name) != content for name, content in before.items())
        return now

    def _busy(self, process: subprocess.Popen[bytes], folder: Path) -> bool:
        """Waits for a random moment; whether the command is still there."""
        after = stored(folder) + self.dice.randint(1, 4)
        while process.poll() is None and stored(folder) < after:
            time.sleep(0.02)
        time.sleep(self.dice.uniform(0, 0.5))
        return process.poll() is None

    def _kill(self, process: subprocess.Popen[bytes], folder: Path, log: Path, start: int) -> None:
        """Kills servers once and looks what becomes of the command, whose output begins at ``start`` of the log; all
        servers are there afterwards. A command that goes on shows a warning again only after a minute's pause, so all
        that it said is looked at."""
        name, survives = self.left[-1], self.survives
        length = start if survives and name != "replica" else log.stat().st_size
        roles = KILLED[name] if name != "replica" else (KILLED[name][len(self.left) % 2],)
        self.pair.kill(roles)
        began, ended, there = time.monotonic(), list[float](), stored(folder)
        if self.again == "yes":
            self.pair.start(roles)

        def wait() -> None:
            process.wait()
            ended.append(time.monotonic())

        Thread(target=wait, daemon=True).start()
        if survives:
            if name != "replica":  # behind whose kill it goes on while that is started
                self.pair.wait(roles)
                there = stored(folder)
            while not ended and stored(folder) == there and time.monotonic() < began + MAX_SECONDS:
                time.sleep(0.02)
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(MAX_SECONDS)
        status, seconds = process.poll(), (ended or [time.monotonic()])[0] - began
        if self.again == "no":
            if status is None and not survives:
                process.kill()
            self.pair.start(roles)
        self.pair.wait(roles)
        if name == "replica":
            while not ended and b"is back" not in log.read_bytes()[length:]:
                time.sleep(0.1)
        if status == 0:  # it had all that it needed
            return
        self.left.pop()
        said = log.read_bytes()[length:].decode()
        *_, line = ["", *(line for line in said.splitlines() if self.pair.named(roles, line))]
        self.kills.append({"killed": name, "seconds": seconds, "status": status, "named": bool(line), "line": line})
        print(name, self.again, f"{seconds:.1f} s", status, line, *said.splitlines()[-1:], file=sys.stderr, flush=True)


def stored(folder: Path) -> int:
    return len(list(folder.glob("problem_*.json")))


def measure(args: argparse.Namespace) -> list[Disturbed]:
    """By what is killed, those in one setup together, and whether it is started again."""
    together = [name for name in args.what if name not in ("replica", "gateway")]
    setups = [("", together)] if together else []
    setups += [(name, [name]) for name in args.what if name not in together]
    return [one for what, names in setups for one in disturbed(args, what, names, args.seconds / len(setups))]


def disturbed(args: argparse.Namespace, what: str, names: Sequence[str], seconds: float) -> list[Disturbed]:
    dice, found = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as place:
        parent = Path(place)
        pair = Pair(parent, what)
        try:
            pair.start()
            pair.wait()
            pair.calibrate()
            whole = parent / "whole"
            subprocess.run(pair.run(args.questions, whole, 3), check=True, stderr=subprocess.DEVNULL)  # noqa: S603
            right = scores(whole)
            for again in args.again:
                left = [name for name in names for _ in range(args.kills)]
                dice.shuffle(left)
                until = time.monotonic() + seconds / len(args.again)
                found.append(Disturbed(pair, args.questions, again, left, dice, until, names))
                while left and time.monotonic() < until:
                    found[-1].once(parent / f"{again}{len(left)}", right)
        finally:
            pair.kill()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=["draft", "target", "both"], nargs="+", choices=tuple(KILLED))
    parser.add_argument("--kills", type=int, default=20, help="of each, in each way")
    parser.add_argument("--questions", type=int, default=40, help="in a run, a sample each")
    parser.add_argument("--again", default=list(RETRIES), nargs="+", choices=tuple(RETRIES))
    parser.add_argument("--seconds", type=float, default=1e9, help="no kill later than this; fewer kills are then told")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the servers, too
    rows, figures = [], []
    for found in measure(args):
        figures.append({"again": found.again, "kills": found.kills, **found.counts})
        for name in found.names:
            told = [one for one in found.kills if one["killed"] == name]
            right = None if found.again == "yes" or name == "replica" else 2
            wrong = sum(one["status"] != right for one in told)
            slowest = max((one["seconds"] for one in told), default=0)
            rows.append([name, found.again, len(told), sum(one["named"] for one in told), f"{slowest:.1f}", wrong])
            rows[-1].append(found.counts["tracebacks"])
    show(COLUMNS, rows, {"ways": figures})


if __name__ == "__main__":
    main()
