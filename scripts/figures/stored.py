"""A whole run whose samples are all stored: memory, open files, lag of the event loop, and does progress add up?

    python scripts/figures/stored.py --samples 100000

The command `baseline` with one turn a sample and 512 in flight, from the servers' addresses to the summary, over an
emulated server. Memory and files are looked at from outside, whenever a tenth more is finished; the lag is that of a
task that wants to be called every 10 ms. Progress adds up where, at each of these looks, what progress.json says has
ended is at least what was stored before and at most what is stored behind it, and what has ended and what runs are no
more than all.
"""

import argparse
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from emulated import data_set, forked, pair
from lag import lag
from show import show

from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone
from ATTS.runs.settings import BaselineSettings
from ATTS.store import progress

REPEATS = 16
COLUMNS = ("samples", "in flight", "seconds", "memory after a fifth / at the end, MB", "open files")
COLUMNS += ("lag p99 / most, ms", "progress adds up")  # type: ignore[assignment]


async def command(lags_at: Path, settings: BaselineSettings) -> Path:
    """The run, and how late a task beside it is called."""
    async with lag() as lags:
        run = await evaluate_alone(settings)
    lags_at.write_text(json.dumps(lags))  # noqa: ASYNC240 - the run is over
    return run


def stored(folder: Path) -> int:
    with os.scandir(folder) as found:
        return sum(entry.name.startswith("problem_") for entry in found)


def look(process: psutil.Process, run: Path, samples: int, in_flight: int) -> dict[str, Any] | None:
    """What it takes now, and whether its progress agrees with its files."""
    before, status = stored(run), progress.read(run)
    if status is None:
        return None
    after, ended = stored(run), sum(status["by_status"].values())
    agrees = ended <= after and ended + status["running"] <= status["total"] == samples
    # A sample is counted right after it is stored; the page is written once a second.
    agrees = agrees and status["running"] <= in_flight
    return {
        "ended": ended,
        "stored_before": before,
        "memory": process.memory_info().rss,
        "files": process.num_fds(),
        "agrees": agrees,
        "running": status["running"],
    }


def measure(samples: int, in_flight: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, pair() as (urls, _):
        folder = Path(place)
        run, lags_at = folder / "run", folder / "lags.json"
        model = {"small_model_name": "d", "small_model_url": urls["small_model_url"]}
        limits = {"samples_in_flight": in_flight, "small_model_concurrency": in_flight, "output_dir": run}
        data = data_set(folder, samples // REPEATS)
        settings = make(BaselineSettings, **model, **limits, dataset_name=data, repeats=REPEATS, turns=1)
        number, began = forked(settings, partial(command, lags_at), folder / "log"), time.monotonic()
        process, looks, ended = psutil.Process(number), list[dict[str, Any]](), 0
        while not ended:
            found = look(process, run, samples, in_flight) if run.exists() else None
            if found and found["ended"] >= (len(looks) + 1) * samples / 10:
                looks.append(found)
            time.sleep(0.2)
            ended, status = os.waitpid(number, os.WNOHANG)
        assert status == 0, (folder / "log").read_text()
        lags, summary = json.loads(lags_at.read_text()), json.loads((run / "summary.json").read_text())
        whole = stored(run) == summary["samples"] == sum(summary["by_status"].values()) == samples
        return {
            "samples": summary["samples"],
            "in_flight": in_flight,
            "seconds": time.monotonic() - began,
            "looks": looks,
            "adds_up": whole and all(one["agrees"] for one in looks),
            "lag_p99": 1000 * lags[int(0.99 * len(lags))],
            "lag_most": 1000 * lags[-1],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--in_flight", type=int, default=512)
    args = parser.parse_args()
    found = measure(args.samples, args.in_flight)
    early, late = found["looks"][len(found["looks"]) // 5], found["looks"][-1]
    row = [f"{found['samples']:,}", args.in_flight, f"{found['seconds']:.0f}"]
    row += [f"{early['memory'] / 1e6:.0f} / {late['memory'] / 1e6:.0f}", f"{early['files']} / {late['files']}"]
    row += [f"{found['lag_p99']:.1f} / {found['lag_most']:.0f}", "yes" if found["adds_up"] else "no"]
    show(COLUMNS, [row], found)


if __name__ == "__main__":
    main()
