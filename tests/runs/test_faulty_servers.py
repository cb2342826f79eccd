"""Servers that fail in every way that passes: no sample is lost, no score made up, nothing comes out differently."""

import asyncio
import json
from pathlib import Path
from typing import Any

from chances import PAIR, chance

from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.emulator.faults import Fault
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store.result_folder import samples

KINDS = ("status,status=429", "status,status=503", "status,status=520", "reset", "half", "bad_json", "empty", "other")
KINDS += ("nan", "none", "short")  # type: ignore[assignment]
EACH = 0.02


def write(ask: Ask) -> Written:
    dice = chance(ask.role, ask.text)
    return Written(f" {dice.randrange(10**6)}" + (r" \boxed{7}" if dice.random() < 0.2 else ""), "length")


def scores(ask: Ask, start: int) -> list[float | None]:
    dice = chance(ask.text)
    return [-dice.random() for _ in ask.ids[start:]]


def told(folder: Path, data: Path, faults: tuple[Fault, ...]) -> tuple[list[Any], int]:
    """What a run comes to, but for its clock and costs, and how many requests its servers had."""

    async def run() -> int:
        content = Scripted(write, scores)
        draft, target = (Served(role=r, name=r[0], content=content, faults=faults) for r in ("draft", "target"))
        async with Server(draft) as one, Server(target) as two:
            urls = {"small_model_url": one.url, "eval_model_url": two.url, "dataset_name": str(data)}
            limits = {"repeats": 8, "turns": 5, "output_dir": folder, "samples_in_flight": 40, "max_retries": 6}
            rule = {"takeover": "random", "rejection_rate": 0.5}
            await evaluate_async(make(AsyncSettings, **PAIR, **urls, **limits, **rule), per_question=False)
            return next(one._plan._numbers) + next(two._plan._numbers)

    requests = asyncio.run(run())
    kept = ("turn", "model", "output", "ppl", "percentile", "rejected")
    return [
        (s["problem_index"], s["exit_status"], [{name: e.get(name) for name in kept} for e in s["full_history"]])
        for s in samples(folder)
    ], requests


def test_a_run_over_servers_that_fail_a_fifth_of_the_requests_comes_to_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"problem": f"question {i}", "answer": "7"}) + "\n" for i in range(5)))
    faults = tuple(Fault.parse(f"{kind},share={EACH}") for kind in KINDS)
    right, asked = told(tmp_path / "right", data, ())
    found, requests = told(tmp_path / "found", data, faults)
    assert len(right) == 40
    assert found == right
    assert asked < requests < 1.6 * asked
