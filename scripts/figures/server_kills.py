"""Real SGLang servers on the CPU that are killed (SIGKILL) in the middle of a run, and the same command after it.

    python scripts/figures/server_kills.py --kills 20

The demo pair without sampling (temperature 0), decided by its scores (--calibration online). Draft, target and both are
killed in random order, each so many times, and started again; a run that has come to its end begins anew in another
folder. Slowest end: seconds from the kill to the end of the command. Named: it says which server is gone, and that the
same command tries again. In the JSON, lost: finished samples that are gone or another later; made_up: scores that
differ by over one per cent from that of the same chunk in the same place of a run that nobody disturbed, of those
compared.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from show import show

from ATTS.launch.supervisor import Server, free_ports, start, stop
from ATTS.store.result_folder import samples

ROLES = {"draft": ("small_model",), "target": ("eval_model",), "both": ("small_model", "eval_model")}
MODELS = {"small_model": "demo-draft", "eval_model": "demo-target"}
MOST_SECONDS = 120.0  # after which a run that has not ended is ended
OWED = ("cancelled", "server_failed", "score_failed")


class Pair:
    """Both servers, each in a folder of its own, so that one can be started again by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        sizes = ("--max-total-tokens", "65536")
        self._servers = {
            role: Server(role, MODELS[role], port, device="cpu", memory_fraction=0.1, extra=sizes)
            for role, port in zip(MODELS, free_ports(2), strict=True)
        }
        self.start(tuple(MODELS))

    def start(self, roles: tuple[str, ...]) -> None:
        for role in roles:
            start([self._servers[role]], self._folder / role, timeout=900)

    def kill(self, roles: tuple[str, ...]) -> None:
        """The launcher and what it has started."""
        for role in roles:
            group = int((self._folder / role / f"{role}.pid").read_text().split()[0])
            os.killpg(group, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(group, 0)

    def stop(self) -> None:
        for role in MODELS:
            stop(self._folder / role)

    def command(self, questions: int, folder: Path) -> list[str]:
        ports = {f"--{role}_port": str(server.port) for role, server in self._servers.items()}
        flags: dict[str, Any] = {
            **{f"--{role}_name": model for role, model in MODELS.items()},
            **ports,
            "--dataset_name": "demo",
            "--max_problems": questions,
            "--repeats": 1,
            "--turns": 20,
            "--small_model_max_tokens": 24,
            "--evalator_max_tokens": 24,
            "--output_dir": folder,
            "--small_model_temperature": 0,
            "--eval_model_temperature": 0,
            "--calibration": "online",
            "--samples_in_flight": 8,
            "--max_retries": 2,
            "--stall_timeout": 30,
        }
        words = [str(word) for pair in flags.items() for word in pair]
        return [sys.executable, "-m", "ATTS.ref_async", *words, "--use_chat_template"]


def finished(folder: Path) -> dict[str, bytes]:
    """Samples that ended by themselves, as they are on the disk."""
    there = {sample["problem_index"] for sample in samples(folder) if sample["exit_status"] not in OWED}
    return {path.name: path.read_bytes() for path in folder.glob("problem_*.json") if int(path.stem[-4:]) in there}


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


def ended(
    pair: Pair, roles: tuple[str, ...], questions: int, folder: Path, dice: random.Random
) -> dict[str, Any] | None:
    """What became of a run whose servers were killed; None if it had come to its end before."""
    before = len(finished(folder)) if folder.exists() else 0
    with subprocess.Popen(pair.command(questions, folder), stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        until = before + dice.randint(1, 10)
        while process.poll() is None and len(list(folder.glob("problem_*.json"))) < until:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 0.5))
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
            return None
        pair.kill(roles)
        began = time.monotonic()
        try:
            _, said = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
        line = next((one for one in said.splitlines()[::-1] if one.startswith("error: ")), "")
        named = any(name in line for name in ("draft server", "target server")) and "same command" in line
        return {
            "seconds": time.monotonic() - began,
            "named": named,
            "status": process.returncode,
            "traceback": "Traceback" in said,
            "line": line,
        }


def measure(kills: int, questions: int, seed: int, seconds: float) -> dict[str, Any]:
    dice = random.Random(seed)
    order = [name for name in ROLES for _ in range(kills)]
    dice.shuffle(order)
    found: dict[str, list[Any]] = {name: [] for name in ROLES}
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        parent = Path(place)
        pair = Pair(parent / "servers")
        try:
            subprocess.run(pair.command(questions, parent / "whole"), check=True, stderr=subprocess.DEVNULL)  # noqa: S603
            right, made_up, compared, rounds, lost = scores(parent / "whole"), 0, 0, 0, 0
            while order and time.monotonic() < until:
                folder, stored = parent / f"killed{rounds}", dict[str, bytes]()
                while order and time.monotonic() < until:
                    told = ended(pair, ROLES[order[-1]], questions, folder, dice)
                    if told is None:
                        break
                    name = order.pop()
                    found[name].append(told)
                    print(name, f"{told['seconds']:.1f} s", told["line"], file=sys.stderr, flush=True)
                    now = finished(folder)
                    lost += sum(now.get(file) != content for file, content in stored.items())
                    stored = now
                    pair.start(ROLES[name])
                subprocess.run(pair.command(questions, folder), check=True, stderr=subprocess.DEVNULL)  # noqa: S603
                now = finished(folder)
                lost += questions - len(now) + sum(now.get(file) != content for file, content in stored.items())
                for chunk, score in scores(folder).items():
                    if chunk in right:
                        compared += 1
                        made_up += score is None or abs(score - (right[chunk] or 0)) > 0.01 * (right[chunk] or 0)
                rounds += 1
        finally:
            pair.stop()
    return {"killed": found, "made_up": made_up, "compared": compared, "lost": lost, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of the draft, of the target, and of both")
    parser.add_argument("--questions", type=int, default=100, help="in a run, a sample each")
    parser.add_argument("--seconds", type=float, default=1e9, help="no kill later than this; fewer kills are then told")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    figures = measure(args.kills, args.questions, args.seed, args.seconds)
    rows = [
        [
            name,
            len(told),
            sum(one["named"] for one in told),
            f"{max((one['seconds'] for one in told), default=0):.1f}",
            sum(one["status"] != 2 for one in told),
            sum(one["traceback"] for one in told),
        ]
        for name, told in figures["killed"].items()
    ]
    columns = ("killed", "kills", "named", "slowest end, s", "other exit status than 2", "tracebacks")
    show(columns, rows, figures)


if __name__ == "__main__":
    main()
