"""What a run says of itself while it goes: the samples, turns and tokens that are in its folder, and when it ends."""

import asyncio
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
import sums
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis.metrics import describe
from ATTS.calibration.calibrate import calibrate
from ATTS.console import Progress
from ATTS.emulator import Server
from ATTS.emulator.timing import Timing
from ATTS.errors import ExitStatus
from ATTS.flags import make
from ATTS.method.types import Event, Stage, Usage
from ATTS.progress.counts import RunProgress
from ATTS.progress.status import lines, span
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.serving.limits import Limits
from ATTS.store import progress, result_folder
from ATTS.store.progress import Status
from ATTS.store.records import Key
from ATTS.tasks.datasets import Question


async def looked_at(folder: Path, quiet: bool) -> list[Status]:
    """A run on servers that take their time, and what its folder said meanwhile."""
    slow = Timing(step_seconds=0.02, speed=1.0)
    one, two = (dataclasses.replace(sums.served(role), timing=slow) for role in ("draft", "target"))
    async with Server(one) as draft, Server(two) as target:
        common = sums.flags(draft, target, sums.data(folder / "sums.jsonl", range(32)), folder)
        await calibrate(make(ConformalSettings, **common, sample_size=1), per_question=False)
        limits = {"small_model_concurrency": 4, "eval_model_concurrency": 2, "repeats": 2}
        more = {"rejection_rate": 0.5, "output_dir": folder / "run", "quiet": quiet, **limits}
        run = asyncio.create_task(evaluate_async(make(AsyncSettings, **common, **more), per_question=False))
        said: list[Status] = []
        while not run.done():
            status = progress.read(folder / "run")
            if status is not None and (not said or status["at"] != said[-1]["at"]):
                said.append(status)
            await asyncio.sleep(0.05)
        await run
    return said


def test_a_run_says_how_far_it_is_and_is_silent_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = asyncio.run(looked_at(tmp_path, quiet=False))
    assert len(said) > 1
    summary = result_folder.read_summary(tmp_path / "run")
    for status in said:
        done = sum(status["by_status"].values())
        assert status["total"] == summary["samples"] == 48
        assert 0 <= done + status["running"] <= 48
        assert status["graded"] == done  # sums are plain numbers
        assert {role: now["limit"] for role, now in status["servers"].items()} == {"draft": 4, "target": 2}
        assert all(now["in_flight"] <= now["limit"] for now in status["servers"].values())
    for before, after in itertools.pairwise(said):
        assert after["turns"] >= before["turns"]
        assert sum(after["by_status"].values()) >= sum(before["by_status"].values())
        assert all(after["tokens"][who] >= before["tokens"][who] for who in ("draft", "target"))
    assert any(status["seconds_left"] is not None for status in said[:-1])
    assert not (tmp_path / "run" / progress.FILE).exists()
    written, scored = summary["written_tokens"], summary["scored"]
    assert written is not None
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("samples 48 of 48 done"))
    assert f"draft {written['draft']:,} (" in line
    assert f"target {written['target']:,} (" in line
    assert f"of {scored:,} scored (asked 50.0 %)" in line
    assert f"accuracy {100 * (summary['mean_accuracy'] or 0):.1f} % of 48 samples" in line


def test_quiet_says_nothing_but_writes_it_for_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = asyncio.run(looked_at(tmp_path, quiet=True))
    assert said
    assert "under way" not in capsys.readouterr().err
    done = door("watch", str(tmp_path / "run"), cwd=tmp_path)  # it has ended
    assert done.stdout.startswith("accuracy ")
    progress.write(tmp_path / "run", {**said[-1], "at": time.time()})
    done = door("watch", str(tmp_path / "run"), "--once", "--by_turn", cwd=tmp_path)
    assert [f"{name:<10}{text}" for name, text in lines(said[-1], by_turn=True)] == done.stdout.strip().splitlines()
    assert "  turn 1" in done.stdout
    progress.write(tmp_path / "run", {**said[-1], "at": time.time() - 60})
    done = door("watch", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 2
    assert "has not been heard of for 6" in done.stderr


@pytest.mark.parametrize("quiet", [False, True])
def test_work_on_many_items_is_counted_unless_quiet(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, 1, "score", quiet) as counted:
        counted.add("scored")
    said = capsys.readouterr().err
    assert said == "" if quiet else said.startswith("2/3 scores, ")


def test_where_no_run_is_watch_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "no run is under way in empty"), ("none", "none is no result folder")):
        done = door("watch", name, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr


@dataclasses.dataclass
class Chain:
    """As far as a sample has come."""

    history: list[Event]
    discarded: list[Any] = dataclasses.field(default_factory=list)
    answer: str | None = None
    text: str = ""


def key(number: int) -> Key:
    return Key(Question(number, str(number), "1"), 0, 1)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=30), st.data())
def test_the_turns_expected_are_those_of_the_samples_whichever_have_ended(ends: list[int], data: Any) -> None:
    """Sample ``i`` ends after ``ends[i]`` turns. With all ended it is their mean, with none the most that may be; on
    the way the turns of those under way count, so that the first to end don't stand for all."""
    counted = RunProgress(Path(), len(ends), 0, Limits(), most_turns=12)
    chains = [Chain([]) for _ in ends]
    begin = counted.watched(lambda key: (chains[key.index], None))  # type: ignore[arg-type, return-value]
    for number in range(len(ends)):
        begin(key(number))
    assert counted.status()["turns_a_sample"] == 12
    upto = data.draw(st.integers(1, 12))
    for turn in range(upto):
        for number, end in enumerate(ends):
            if turn < end:
                chains[number].history.append(Event(turn, Stage.DRAFT, Usage(completion_tokens=3), output="x"))
            if turn + 1 == end:
                counted.ended(key(number), ExitStatus.ANSWERED, True)
    status = counted.status()
    finished, turns = sum(end <= upto for end in ends), sum(min(end, upto) for end in ends)
    assert (status["turns"], status["tokens"]["draft"]) == (turns, 3 * turns)
    assert status["running"] == len(ends) - finished
    assert status["turns_a_sample"] == pytest.approx(min(12, turns / finished) if finished else 12)
    if finished == len(ends):
        assert status["turns_a_sample"] == pytest.approx(sum(ends) / len(ends))
        assert not status["seconds_left"]
    json.dumps(status, allow_nan=False)


@pytest.mark.parametrize(("seconds", "text"), [(None, "not known yet"), (5, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_time_is_told_as_exactly_as_it_is_known(seconds: float | None, text: str) -> None:
    assert span(seconds).removeprefix("about ") == text


def test_a_run_without_a_finished_sample_says_so() -> None:
    assert describe({"samples": 0}) == "no sample is finished"  # type: ignore[typeddict-item]
