"""Two real SGLang servers a side on this machine's CPU, at URLs and through gateways, and kills.

    python -m venv /tmp/smg && /tmp/smg/bin/pip install -r third_party/gateway/requirements.txt
    GATEWAY_PYTHON=/tmp/smg/bin/python python scripts/figures/real_replicas.py --out results/real_replicas

Starts 2 + 2 servers of the demo pair (8 GB of memory) and a gateway before each side by
scripts/launch_sglang_servers.sh, and stops them by scripts/stop_sglang_servers.sh. At temperature 0 one sample a
question, to compare texts, scores and decisions with one server a side; at --temperature 16 samples a question, for
what is cached and how even the work is, by the servers' own pages of metrics, and which chains were where, by their
own logs. Last, a draft server is killed (-9) in the middle of a run at URLs, and a target server in one through
gateways.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from show import show

from ATTS.calibration.calibrate import calibrate
from ATTS.console import event_loop
from ATTS.flags import make
from ATTS.launch.supervisor import free_ports
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.serving.load import Load, parse
from ATTS.store.result_folder import samples

ROOT = Path(__file__).parents[2]
ROLES = {"draft": "small_model", "target": "eval_model"}
CHUNK, REPEATS = 24, 16
CHAIN = re.compile(r"Receive: obj=GenerateReqInput\(.*?rid='[0-9a-f]{8}-(q\d+-s\d+)_t\d+_r\d+'")
DEMO = {"small_model_name": "demo-draft", "eval_model_name": "demo-target", "dataset_name": "demo"}
PAIR = {**DEMO, "small_model_max_tokens": CHUNK, "evalator_max_tokens": CHUNK, "use_chat_template": True, "quiet": True}


@dataclass(frozen=True)
class Cluster:
    """Two servers a side, and a gateway before each side."""

    folder: Path
    urls: Mapping[str, Sequence[str]]
    gateways: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """Of the scripts that start and stop it."""
        ports = {role: urls[0].rpartition(":")[2] for role, urls in self.urls.items()}
        made = {"CONFIG": "configs/demo.sh", "SERVER_DIR": str(self.folder), "PYTHON": sys.executable}
        for role, name in ROLES.items():
            gateway = self.gateways[role].rpartition(":")[2]
            upper = name.upper()
            made |= {f"{upper}_PORT": ports[role], f"{upper}_GATEWAY_PORT": gateway, f"{upper}_REPLICAS": "2"}
            made[f"{upper}_ARGS"] = "--max-total-tokens 65536 --log-requests --log-requests-level 0"
        return {**os.environ, **made}

    def log(self, role: str, number: int) -> Path:
        return self.folder / f"{self._name(role, number)}.log"

    def kill(self, role: str, number: int) -> None:
        """A server with all its processes."""
        group = int((self.folder / f"{self._name(role, number)}.pid").read_text().split()[0])
        os.killpg(group, signal.SIGKILL)

    def _name(self, role: str, number: int) -> str:
        return ROLES[role] + ("" if number == 0 else f"_{number + 1}")


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """One that runs."""
    small, large, *gateways = free_ports(4)
    ports, before = zip(ROLES, (small, large), strict=True), zip(ROLES, gateways, strict=True)
    urls = {role: [f"http://127.0.0.1:{port + 2 * k}" for k in (0, 1)] for role, port in ports}
    found = Cluster(folder, urls, {role: f"http://127.0.0.1:{port}" for role, port in before})
    environment = found.environment()
    try:
        subprocess.run(["bash", "scripts/launch_sglang_servers.sh"], cwd=ROOT, env=environment, check=True)  # noqa: S607
        yield found
    finally:
        subprocess.run(["bash", "scripts/stop_sglang_servers.sh"], cwd=ROOT, env=environment, check=True)  # noqa: S607


def load(url: str) -> Load:
    """What a server has done so far."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as reply:  # noqa: S310 - of this machine
        found = parse(reply.read().decode())
    assert found is not None
    return found


def healthy(gateway: str) -> set[str]:
    """Servers that a gateway sends requests to."""
    with urllib.request.urlopen(f"{gateway}/workers", timeout=60) as reply:  # noqa: S310 - of this machine
        return {one["url"].rstrip("/") for one in json.loads(reply.read())["workers"] if one["is_healthy"]}


def forget(url: str) -> None:
    """Empties a server's prefix cache."""
    request = urllib.request.Request(f"{url}/flush_cache", method="POST")  # noqa: S310 - of this machine
    for _ in range(50):  # it refuses while it works
        try:
            with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} doesn't forget")


@dataclass
class Measured:
    """Runs on a cluster. ``arrays``: the scores that decide, by temperature."""

    servers: Cluster
    out: Path
    arrays: Mapping[float, Path]
    questions: int

    def run(self, name: str, through: str, temperature: float, kill: str = "") -> dict[str, Any]:
        """One run over ``through``: "one", "urls" or "gateways"; ``kill``: the role whose second server is killed when
        a third of the samples is there."""
        alive = {role: [url for url in urls if self._answers(url)] for role, urls in self.servers.urls.items()}
        for url in (url for urls in alive.values() for url in urls):
            forget(url)
        if through == "gateways":
            for role, gateway in self.servers.gateways.items():
                while healthy(gateway) != set(alive[role]):  # one that was killed is found out after seconds
                    time.sleep(0.5)
        before = {url: load(url) for urls in alive.values() for url in urls}
        read = {role: [self.servers.log(role, k).stat().st_size for k in (0, 1)] for role in ROLES}
        urls = {"one": {r: alive[r][:1] for r in ROLES}, "urls": alive}.get(through)
        given = urls or {role: [self.servers.gateways[role]] for role in ROLES}
        settings = make(
            AsyncSettings,
            **PAIR,
            small_model_url=tuple(given["draft"]),
            eval_model_url=tuple(given["target"]),
            small_model_temperature=temperature,
            eval_model_temperature=temperature,
            ppl_array_path=self.arrays[temperature],
            max_problems=self.questions * (1 if temperature else 4),
            repeats=REPEATS if temperature else 1,
            turns=12,
            max_retries=8,
            output_dir=self.out / name,
        )
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(self._watched(settings, kill))
        found = json.loads((self.out / name / "summary.json").read_text())
        result = {"name": name, "samples": found["samples"], "owed": found["owed"], "seconds": found["wall_seconds"]}
        for role in ROLES:
            reports = [one for key, one in found["servers"].items() if key.partition(" ")[0] == role]
            prompt = sum(one["prompt_tokens"] for one in reports)
            own: dict[str, Any] = {
                "cached": sum(one["prompt_tokens"] * (one["cached_share"] or 0) for one in reports) / prompt
            }
            if not kill:
                used = alive[role][:1] if through == "one" else alive[role]
                own |= self._by_server(used, before)
                own["chains"] = self._chains(role, read[role])
            result[role] = own
        return result

    async def _watched(self, settings: AsyncSettings, kill: str) -> None:
        work = asyncio.create_task(evaluate_async(settings, per_question=False))
        place = settings.output.output_dir
        assert place is not None
        third = REPEATS * settings.data.max_problems // 3
        while kill and not work.done():
            if len(list(place.glob("problem_*.json"))) >= third:
                self.servers.kill(kill, 1)
                kill = ""
            await asyncio.sleep(0.05)
        await work
        assert not kill, "the run ended before anything was killed"

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            load(url)
        except OSError:
            return False
        return True

    @staticmethod
    def _by_server(urls: Sequence[str], before: Mapping[str, Load]) -> dict[str, Any]:
        """Of the run that has just ended, by the servers' own counters."""
        work, cached = [], []
        for url in urls:
            now, then = load(url), before[url]
            prompt, hits = now.prompt_tokens - then.prompt_tokens, now.cached_tokens - then.cached_tokens
            work.append(prompt - hits + now.written_tokens - then.written_tokens)
            cached.append(hits / prompt if prompt else 0.0)
        return {"each": cached, "balance": max(work) / (sum(work) / len(work))}

    def _chains(self, role: str, read: Sequence[int]) -> dict[str, int]:
        """How many there were, and how many of them asked one server only, by what the servers have logged since."""
        found: list[set[str]] = []
        for number, start in enumerate(read):
            with self.servers.log(role, number).open() as log:
                log.seek(start)
                found.append(set(CHAIN.findall(log.read())))
        first, second = found
        return {"all": len(first | second), "at one server": len(first ^ second)}


def differing(one: Path, other: Path) -> tuple[int, int, int, float]:
    """Samples, those with another text, those with another decision in an equal text, and the largest difference of a
    score in equal texts."""
    pairs = list(zip(_told(one), _told(other), strict=True))
    same = [(a, b) for a, b in pairs if a[0] == b[0]]
    scores = [abs(x - y) for a, b in same for x, y in zip(a[2], b[2], strict=True) if x is not None and y is not None]
    return len(pairs), len(pairs) - len(same), sum(a[1] != b[1] for a, b in same), max(scores, default=0.0)


def _told(folder: Path) -> list[tuple[list[Any], list[Any], list[float | None]]]:
    """Of each sample: its chunks, its decisions, its scores."""
    return [
        (
            [event.get("output") for event in sample["full_history"]],
            [(event["model"], event.get("rejected")) for event in sample["full_history"]],
            [event.get("ppl") for event in sample["full_history"]],
        )
        for sample in samples(folder)
    ]


def array(servers: Cluster, out: Path, temperature: float) -> Path:
    """Scores of first chunks, by one server a side."""
    settings = make(
        ConformalSettings,
        **{name: value for name, value in PAIR.items() if name not in ("evalator_max_tokens", "quiet")},
        small_model_url=(servers.urls["draft"][0],),
        eval_model_url=(servers.urls["target"][0],),
        small_model_temperature=temperature,
        max_problems=100,
        sample_size=1,
        ppl_array_path=out / f"first_chunks_{temperature:g}.npy",
    )
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(calibrate(settings, per_question=False))


def rows(found: Sequence[dict[str, Any]]) -> list[list[object]]:
    """For people."""
    table = []
    for one in found:
        row: list[object] = [one["name"], one["samples"], one["owed"]]
        for role in ROLES:
            own = one[role]
            row.append(f"{100 * own['cached']:.1f} %")
            if "each" not in own:  # one was killed, with what it had counted
                row += ["-", "-", "-"]
                continue
            row.append(", ".join(f"{100 * share:.1f}" for share in own["each"]))
            row += [f"{own['balance']:.2f}", "{at one server} of {all}".format(**own["chains"])]
        table.append([*row, f"{one['seconds']:.0f}"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and logs")
    parser.add_argument("--questions", type=int, default=8, help="16 samples each; at temperature 0 four times as many")
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True)  # a run in a folder that holds it would have nothing to do
    ways = {"one": "1 + 1", "urls": "2 + 2 URLs", "gateways": "2 + 2 behind gateways"}
    with cluster(out / "servers") as servers:
        arrays = {temperature: array(servers, out, temperature) for temperature in (0.0, args.temperature)}
        measured = Measured(servers, out, arrays, args.questions)
        for name in ("one", "one_again", "urls", "gateways"):
            measured.run(f"zero_{name}", name.partition("_")[0], 0.0)
        found = [measured.run(name, way, args.temperature) for way, name in ways.items()]
        found.append(measured.run("URLs, a draft killed", "urls", args.temperature, kill="draft"))
        found.append(measured.run("gateways, a target killed", "gateways", args.temperature, kill="target"))
    equal = {name: differing(out / "zero_one", out / f"zero_{name}") for name in ("one_again", "urls", "gateways")}
    lines = [[name, *values[:3], f"{values[3]:.1e}"] for name, values in equal.items()]
    show(["at temperature 0", "samples", "other text", "other decision", "scores differ by at most"], lines, equal)
    columns = ["run", "samples", "failed"]
    for role in ROLES:
        columns += [f"cached, {role}", "at each", "busiest over mean", "chains at one server"]
    show([*columns, "seconds"], rows(found), {one["name"]: one for one in found})


if __name__ == "__main__":
    main()
