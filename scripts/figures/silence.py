"""Servers that stop without closing their connections, and Ctrl-C with many requests in flight.

    python scripts/figures/silence.py

A server that accepts and never answers, one that answers a byte a second, and one whose process is stopped (SIGSTOP),
each in the middle of a run with --stall_timeout 5 and one retry: when is it named, when does the run end, and does the
same command finish it? Then SIGINT with 512 requests in flight: when has the server none left, when is the process
gone, and is every file whole?
"""

import os
import re
import signal
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulated import Count, data_set, forked, pair, told, waited
from interrupted import WHAT, samples_of
from show import show

from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone
from ATTS.runs.settings import BaselineSettings

STALL, IN_FLIGHT = 5.0, 512
KINDS = {"never answers": "hang,since=400", "a byte a second": "drip,since=400,seconds=1", "stopped": ""}


def silent(fault: str) -> dict[str, Any]:
    """Seconds until the server is named and until the run ends."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with pair(*filter(None, [fault])) as (urls, count):
            flags = {**urls, "dataset_name": data_set(folder, 25), "stall_timeout": STALL, "max_retries": 1}
            settings, command = WHAT["run"].settings(flags, folder), WHAT["run"].command
            (folder / "log").touch()
            process = forked(settings, command, folder / "log")
            if not fault:
                while count.value < 1000:
                    time.sleep(0.001)
                count.signal(signal.SIGSTOP)
            quiet, before, named, ended = time.monotonic(), -1, 0.0, 0
            while not ended:
                if not named and count.value != before:
                    quiet, before = time.monotonic(), count.value
                if not named and "no sign of life" in (folder / "log").read_text():
                    named = time.monotonic() - quiet
                ended, status = os.waitpid(process, os.WNOHANG)
                time.sleep(0.01)
            seconds = time.monotonic() - quiet
            line = re.findall("^error: (.*)", (folder / "log").read_text(), re.M)[-1]
            kept = len(samples_of(folder))
        with pair() as (urls, _):
            again = replace(settings, draft=replace(settings.draft, address=urls["small_model_url"]))
            again = replace(again, target=replace(again.target, address=urls["eval_model_url"]))
            assert waited(forked(again, command, folder / "log")) == 0
        finished = len(told(folder / "run"))
        return {"named": named, "ended": seconds, "kept": kept, "finished": finished, "line": line, "status": status}


def running(url: str) -> float:
    """Requests at a server, by its page of metrics."""
    page = urllib.request.urlopen(f"{url}/metrics", timeout=5).read().decode()  # noqa: S310
    return sum(float(value) for value in re.findall(r"^sglang:num_(?:running|queue)_reqs\{.*?\} (\S+)", page, re.M))


def interrupted(count: Count, urls: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds from SIGINT on until the server is idle, and until the process has ended."""
    flags = {"small_model_name": "d", "small_model_url": urls["small_model_url"], "dataset_name": data_set(folder, 64)}
    limits = {"samples_in_flight": IN_FLIGHT, "small_model_concurrency": IN_FLIGHT, "output_dir": folder / "run"}
    process = forked(make(BaselineSettings, **flags, **limits, repeats=16, turns=9), evaluate_alone, folder / "log")
    while count.value < 2 * IN_FLIGHT or running(urls["small_model_url"]) < IN_FLIGHT:
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(process, signal.SIGINT)
    idle, ended = 0.0, 0
    while not ended or not idle:
        if not idle and not running(urls["small_model_url"]):
            idle = time.monotonic() - began
        if not ended:
            ended, status = os.waitpid(process, os.WNOHANG)
            gone = time.monotonic() - began
        time.sleep(0.01)
    return {"idle": idle, "ended": gone, "status": os.waitstatus_to_exitcode(status), "whole": len(samples_of(folder))}


def main() -> None:
    found = {kind: silent(fault) for kind, fault in KINDS.items()}
    rows = [
        [kind, f"{one['named']:.1f}", f"{one['ended']:.1f}", one["kept"], one["finished"], one["line"]]
        for kind, one in found.items()
    ]
    show(
        ["server", "named after, s", "run ended after, s", "samples kept", "after the same command", "said"],
        rows,
        found,
    )
    with tempfile.TemporaryDirectory() as place, pair(seconds=0.5) as (urls, count):
        one = interrupted(count, urls, Path(place))
    show(
        ["in flight", "server idle after, s", "process ended after, s", "exit status"],
        [[IN_FLIGHT, f"{one['idle']:.2f}", f"{one['ended']:.2f}", one["status"]]],
        one,
    )


if __name__ == "__main__":
    main()
