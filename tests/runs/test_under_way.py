"""Chains go on where they were interrupted: what a model wrote and a rule decided is neither lost nor asked again."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chances import PAIR, QUESTIONS, chance, cut_off

from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.emulator.faults import Fault
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.failures import Failures
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store.result_folder import samples
from ATTS.store.under_way import FOLDER

RANDOM = {"takeover": "random", "rejection_rate": 0.5}
RUNS: dict[str, dict[str, Any]] = {
    "score": {"calibration": "online", "samples_in_flight": 1},  # decides by what came before
    "coin": {**RANDOM, "samples_in_flight": 4},
    "optimistic": {**RANDOM, "samples_in_flight": 4, "optimistic": True},
    "resample": {**RANDOM, "samples_in_flight": 4, "on_rejection": "resample", "draft_attempts": 2},
    "alone": {"samples_in_flight": 4},
}


class Says:
    """Text and scores that follow from the prompt alone; ``asked`` counts what was asked for, by prompt."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()

    def write(self, ask: Ask) -> Written:
        self.asked[ask.role, ask.text] += 1
        dice = chance(ask.role, ask.text)
        return Written(f" {dice.randrange(10**6)}" + (r" \boxed{7}" if dice.random() < 0.1 else ""), "length")

    def scores(self, ask: Ask, start: int) -> list[float | None]:
        self.asked["score", ask.text] += 1
        dice = chance(ask.text)
        return [-dice.random() for _ in ask.ids[start:]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"problem": q.problem, "answer": "7"}) + "\n" for q in QUESTIONS))
    return path


def told(folder: Path) -> list[Any]:
    """What a run came to, without its clock and costs."""
    kept = ("turn", "model", "output", "discarded", "ppl", "percentile", "rejected", "order", "p_value", "level")
    return [
        (s["problem_index"], s["exit_status"], [{name: e.get(name) for name in kept} for e in s["full_history"]])
        for s in samples(folder)
    ]


async def run(name: str, says: Says, data: Path, out: Path, every: int = 0) -> int:
    """Runs to the end, interrupted after ``every`` requests. Returns how often it was."""
    content = Scripted(says.write, says.scores)
    draft, target = (Served(role=role, name=role[0], content=content) for role in ("draft", "target"))
    async with Server(draft) as one, Server(target) as two:
        common = {"dataset_name": str(data), "repeats": 2, "turns": 6, "output_dir": out, "small_model_url": one.url}
        for interrupts in range(100):
            if name == "alone":
                alone = make(BaselineSettings, **common, small_model_name="d", **RUNS[name])
                work: Any = evaluate_alone(alone)
            else:
                pair = make(AsyncSettings, **common, **PAIR, eval_model_url=two.url, **RUNS[name])
                work = evaluate_async(pair, per_question=False)
            before = says.asked.total()
            if not every:
                await work
                return interrupts
            task = asyncio.ensure_future(work)
            await cut_off(task, lambda before=before: says.asked.total() >= before + every)  # type: ignore[misc]
            if not task.cancelled():
                await task
                return interrupts
    raise AssertionError("it makes no progress")


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_goes_on_where_it_was_and_comes_to_the_same(name: str, tmp_path: Path, data: Path) -> None:
    whole, parts = Says(), Says()
    asyncio.run(run(name, whole, data, tmp_path / "whole"))
    interrupts = asyncio.run(run(name, parts, data, tmp_path / "parts", every=12 if name == "alone" else 25))
    assert interrupts >= 2
    assert told(tmp_path / "parts") == told(tmp_path / "whole")
    in_flight = RUNS[name]["samples_in_flight"] * (2 if name == "optimistic" else 1)
    again = parts.asked - whole.asked
    assert again.total() <= in_flight * interrupts
    if name != "optimistic":  # which may ask for more or less ahead
        assert not whole.asked - parts.asked
    assert not (tmp_path / "parts" / FOLDER).exists()
    for sample in samples(tmp_path / "parts"):
        ends = [e["at"] + e["queued"] + e["seconds"] for e in sample["full_history"]]
        assert max(ends) <= sample["duration_seconds"] + 1e-3
        asked = [e["at"] for e in sample["full_history"]]
        assert asked == sorted(asked) or name == "optimistic"  # which drafts ahead before it asks for the score


def test_what_is_of_another_run_or_damaged_is_not_used(tmp_path: Path, data: Path) -> None:
    """Torn lines, other settings, other questions, links, samples that are done."""
    says, out = Says(), tmp_path / "out"

    async def interrupted() -> None:
        content = Scripted(says.write, says.scores)
        async with Server(Served(role="draft", name="d", content=content)) as one:
            flags = {"small_model_name": "d", "small_model_url": one.url, "dataset_name": str(data), "repeats": 2}
            work = evaluate_alone(make(BaselineSettings, **flags, turns=6, output_dir=out, samples_in_flight=4))
            await cut_off(work, lambda: says.asked.total() >= 12)

    asyncio.run(interrupted())
    files = sorted((out / FOLDER).iterdir())
    assert len(files) >= 2
    torn, foreign, *_ = files
    torn.write_bytes(torn.read_bytes()[:-7])
    head, *lines = foreign.read_text().splitlines()
    lines = [line.replace('"ids":[', '"ids":[1,') for line in lines]
    foreign.write_text("\n".join([head.replace('"settings_digest":"', '"settings_digest":"x'), *lines]) + "\n")
    outside = tmp_path / "outside"
    outside.write_text(torn.read_text())
    (out / FOLDER / "0009.jsonl").unlink(missing_ok=True)
    (out / FOLDER / "0009.jsonl").symlink_to(outside)
    (out / FOLDER / "0099.jsonl").write_text("{}\n")
    before = outside.read_bytes()
    asyncio.run(run("alone", says, data, out))
    asyncio.run(run("alone", Says(), data, tmp_path / "whole"))
    assert told(out) == told(tmp_path / "whole")
    assert outside.read_bytes() == before
    assert not (out / FOLDER).exists()


@pytest.mark.parametrize(("status", "goes_on"), [(400, False), (503, True)])
def test_a_chain_that_a_server_refuses_begins_anew_and_one_that_it_failed_goes_on(
    status: int, goes_on: bool, tmp_path: Path, data: Path
) -> None:
    """The tenth request fails for good."""
    says = Says()

    async def main() -> None:
        faults = (Fault.parse(f"status,at=9,status={status}"),)
        content = Scripted(says.write, says.scores)
        async with Server(Served(role="draft", name="d", content=content, faults=faults)) as one:
            flags = {"small_model_name": "d", "small_model_url": one.url, "dataset_name": str(data), "repeats": 2}
            limits = {"max_retries": 0, "samples_in_flight": 1, "output_dir": tmp_path / "out"}
            with pytest.raises(UserError, match="1 of 10 samples failed at the servers"):
                await evaluate_alone(make(BaselineSettings, **flags, **limits, turns=6))

    asyncio.run(main())
    assert len(list((tmp_path / "out" / FOLDER).glob("*.jsonl"))) == goes_on


@pytest.mark.parametrize(("share", "stops"), [(1.0, True), (0.2, False)])
def test_a_run_whose_samples_mostly_fail_stops_and_says_why(
    share: float, stops: bool, tmp_path: Path, data: Path
) -> None:
    says, out = Says(), tmp_path / "out"

    async def main(**more: Any) -> None:
        content = Scripted(says.write, says.scores)
        faults = (Fault.parse(f"status,share={share},status=500"),)
        async with Server(Served(role="draft", name="d", content=content, faults=faults, seed=1)) as one:
            flags = {"small_model_name": "d", "small_model_url": one.url, "dataset_name": str(data), "repeats": 20}
            limits = {"max_retries": 0, "samples_in_flight": 4, "output_dir": out, "error_window": 20}
            await evaluate_alone(make(BaselineSettings, **flags, **limits, **more))

    one_turn = {"turns": 1}
    wanted = (
        r"20 of the last 20 samples failed .* most often: model server: status 500: " if stops else "of 100 samples"
    )
    with pytest.raises(UserError, match=wanted):
        asyncio.run(main(**one_turn))
    assert (len(list(out.glob("problem_*.json"))) < 30) == stops
    if stops:
        with pytest.raises(UserError, match="100 of 100 samples failed at the servers"):
            asyncio.run(main(**one_turn, max_error_rate=1.0))


def test_a_strict_run_fails_with_any_sample() -> None:
    failures = Failures(strict=True)
    failures.check({"answered": 3, "turn_limit": 2})
    with pytest.raises(UserError, match="--strict: 1 context_full"):
        failures.check({"answered": 3, "context_full": 1})
    Failures().check({"context_full": 1})
