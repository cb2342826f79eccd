"""Runs that are killed at random moments, the same command after each.

    python scripts/figures/kills.py --kills 200
    python scripts/figures/kills.py --kills 50 --signal TERM
    python scripts/figures/kills.py --kills 20 --what calibration

400 samples of up to 6 turns over emulated servers, 16 in flight. Lost: a sample that was stored and isn't there later.
Doubled: one that is there twice. Torn: a sample file that is no JSON. Afterwards the folder is compared with that of a
run that nobody disturbed: every text, score and decision. Again: requests over those of that run, for each kill.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from emulated import data_set, forked, pair, told, waited
from show import show

from ATTS.calibration.calibrate import calibrate
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings

IN_FLIGHT = 16


def run_settings(flags: dict[str, Any], folder: Path) -> AsyncSettings:
    return make(
        AsyncSettings,
        **flags,
        repeats=16,
        turns=6,
        takeover="random",
        rejection_rate=0.4,
        samples_in_flight=IN_FLIGHT,
        output_dir=folder / "run",
    )


def calibration_settings(flags: dict[str, Any], folder: Path) -> ConformalSettings:
    return make(ConformalSettings, **flags, ppl_array_path=folder / "a.npy", max_concurrent=IN_FLIGHT // 2)


WHAT: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "run": (run_settings, partial(evaluate_async, per_question=False)),
    "calibration": (calibration_settings, partial(calibrate, per_question=False)),
}


def whole(folder: Path) -> dict[str, bytes]:
    """The finished files, each of which must be JSON or an array."""
    found = {}
    for path in [*folder.glob("run/problem_*.json"), *folder.glob("a.npy"), *folder.glob("a.json")]:
        raw = path.read_bytes()
        if path.suffix == ".json":
            content = json.loads(raw)
            if content.get("exit_status") in ("cancelled", "server_failed"):
                continue
        found[path.name] = raw
    return found


def leftovers(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if ".tmp" in path.name or "under_way" in path.name
    ]


def disturbed(what: str, flags: dict[str, Any], count: Any, folder: Path, kills: int, number: int, seed: int) -> Any:
    """Kills, and what was wrong after any."""
    settings, command = WHAT[what][0](flags, folder), WHAT[what][1]
    dice, done, log = random.Random(seed), 0, folder / "log"
    stored: dict[str, bytes] = {}
    wrong = {"lost": 0, "torn": 0, "tracebacks": 0}
    slowest = 0.0
    while True:
        process, at = forked(settings, command, log), count.value + dice.randint(0, 40)
        ended = 0
        while not ended and (done >= kills or count.value < at):
            ended, _ = os.waitpid(process, os.WNOHANG)
            time.sleep(0.0005)
        if ended:
            break
        began = time.monotonic()
        os.kill(process, number)
        status = waited(process)
        slowest = max(slowest, time.monotonic() - began)
        done += 1
        if status == 0:  # it had just finished
            break
        try:
            now = whole(folder)
        except ValueError:
            wrong["torn"] += 1
            continue
        wrong["lost"] += len(stored.keys() - now.keys())
        stored = now
    wrong["tracebacks"] = log.read_text().count("Traceback") + log.read_text().count("TRACEBACK")
    return {"kills": done, **wrong, "slowest_end": slowest}


def measure(what: str, kills: int, number: int, seed: int, questions: int = 25) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, pair() as (urls, count):
        folder = Path(place)
        flags = {**urls, "dataset_name": data_set(folder, questions)}
        for name in ("whole", "killed"):
            (folder / name).mkdir()
        settings, command = WHAT[what][0](flags, folder / "whole"), WHAT[what][1]
        assert waited(forked(settings, command, folder / "whole/log")) == 0, (folder / "whole/log").read_text()
        asked = count.value
        result = disturbed(what, flags, count, folder / "killed", kills, number, seed)
        again = count.value - 2 * asked
        if what == "run":
            same = told(folder / "killed/run") == told(folder / "whole/run")
            there = len(told(folder / "killed/run"))
            doubled = there - len({index for index, *_ in told(folder / "killed/run")})
        else:
            same = bool(np.array_equal(np.load(folder / "killed/a.npy"), np.load(folder / "whole/a.npy")))
            there, doubled = len(np.load(folder / "killed/a.npy")), 0
        return {
            "what": what,
            "signal": signal.Signals(number).name,
            **result,
            "there": there,
            "doubled": doubled,
            "same": same,
            "left": leftovers(folder / "killed"),
            "requests": asked,
            "again_a_kill": again / max(1, result["kills"]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "INT"))
    parser.add_argument("--what", default="run", choices=tuple(WHAT))
    parser.add_argument("--questions", type=int, default=25, help="16 samples each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = measure(args.what, args.kills, signal.Signals[f"SIG{args.signal}"], args.seed, args.questions)
    columns = ["what", "signal", "kills", "lost", "doubled", "torn", "tracebacks", "same", "left", "requests"]
    cells = [found[name] for name in columns]
    columns += ["again, for each kill", "slowest end, s"]
    show(columns, [[*cells, f"{found['again_a_kill']:.1f}", f"{found['slowest_end']:.2f}"]], found)


if __name__ == "__main__":
    main()
