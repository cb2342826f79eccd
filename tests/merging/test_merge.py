"""Shards of a run: what they do is what one process does, in one folder or several, and only a whole run is joined."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chances import PAIR, QUESTIONS, chance, cut_off

from ATTS.analysis import folders
from ATTS.analysis.accuracy import accuracy
from ATTS.analysis.grading import by_math
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.merging.merge import MergeSettings, merge
from ATTS.progress.status import WatchSettings, watch
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store import progress
from ATTS.store.result_folder import ResultStore, about_of, read_summary, samples
from ATTS.tasks.shards import Shard

SHARDS, REPEATS = 3, 2


def write(ask: Ask) -> Written:
    """What follows from role and prompt alone."""
    dice = chance(ask.role, ask.text)
    return Written(f" {dice.randrange(10**6)}" + (r" \boxed{7}" if dice.random() < 0.2 else ""), "length")


CONTENT = Scripted(write, lambda ask, start: [-0.5] * len(ask.ids[start:]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    path.write_text("".join(json.dumps({"problem": q.problem, "answer": "7"}) + "\n" for q in QUESTIONS))
    return path


Run = Callable[..., Any]


@asynccontextmanager
async def runs(data: Path) -> AsyncIterator[Run]:
    """What runs a shard, or all, on servers of its own."""
    served = [Served(role=role, name=role[0], content=CONTENT) for role in ("draft", "target")]
    async with Server(served[0]) as one, Server(served[1]) as two:
        urls = {"small_model_url": one.url, "eval_model_url": two.url}
        common = {"dataset_name": str(data), "repeats": REPEATS, "turns": 5, "takeover": "random", "quiet": True}

        def run(out: Path, shard: int | None = None, of: int = SHARDS, **more: Any) -> Any:
            part = {} if shard is None else {"shard": f"{shard}/{of}"}
            settings = make(AsyncSettings, **PAIR, **urls, **common, **part, output_dir=out, **more)
            return evaluate_async(settings, per_question=False)

        yield run


def told(folder: Path) -> list[Any]:
    """What a run came to, without its clock."""
    kept = ("turn", "model", "output", "percentile", "rejected")
    return [
        [s["problem_index"], s["exit_status"], s["final_answer"], s["settings_digest"]]
        + [[entry.get(name) for name in kept] for entry in s["full_history"]]
        for s in samples(folder)
    ]


def joined(out: Path, *parts: Path) -> str:
    return asyncio.run(merge(make(MergeSettings, out=out, folders=parts)))


def refused(match: str, out: Path, *parts: Path) -> None:
    before = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=match):
        joined(out, *parts)
    assert {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process, in shards that share a folder, side by side, and in shards with a folder each."""
    folder = tmp_path_factory.mktemp("made")

    async def make_them() -> None:
        async with runs(data) as run:
            await run(folder / "alone")
            await asyncio.gather(*(run(folder / "shared", number) for number in (1, 2, 3)))
            for number in (1, 2, 3):
                await run(folder / f"part_{number}", number)

    asyncio.run(make_them())
    return folder


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> list[Path]:
    """Copies of the three folders with a shard each."""
    return [Path(shutil.copytree(made / f"part_{n}", tmp_path / f"part_{n}")) for n in (1, 2, 3)]


def test_shards_in_one_folder_are_the_run_of_one_process(made: Path, tmp_path: Path) -> None:
    shared = Path(shutil.copytree(made / "shared", tmp_path / "shared"))
    assert told(shared) == told(made / "alone")
    assert not (shared / "summary.json").exists()
    assert "3 shards, 10 samples" in joined(shared)
    alone, whole = read_summary(made / "alone"), read_summary(shared)
    clock = ("wall_seconds", "servers", "timing", "stages")
    assert {k: v for k, v in whole.items() if k not in clock and k != "by_turn"} == {
        k: v for k, v in alone.items() if k not in clock and k != "by_turn"
    }
    assert whole["samples_in_wall_seconds"] == 10
    assert about_of(shared)["decisive"] == about_of(made / "alone")["decisive"]
    assert {path.name for path in shared.iterdir()} == {path.name for path in (made / "alone").iterdir()}
    with ResultStore(shared, about_of(made / "alone"), force=False):
        pass  # the same command without --shard goes on in it


def test_shards_in_several_folders_are_the_run_of_one_process(made: Path, parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "deep/whole"
    joined(out, *reversed(parts))
    assert told(out) == told(made / "alone")
    assert about_of(out)["digest"] == about_of(made / "alone")["digest"]
    assert [one["shard"] for one in about_of(out)["joined"]] == ["1/3", "2/3", "3/3"]
    assert [path.name for path in out.parent.iterdir()] == ["whole"]
    found = folders.load(out, None, None, None)
    assert found.missing == 0
    assert accuracy(by_math(found.samples, found.references, found.repeats), found.repeats)["questions"] == 5


def test_a_shard_has_its_questions_and_whole_ones(made: Path) -> None:
    for number in (1, 2, 3):
        own = {question.index for question in Shard(number, SHARDS).questions(QUESTIONS)}
        indices = [s["problem_index"] for s in samples(made / f"part_{number}")]
        assert indices == sorted(index * REPEATS + repeat for index in own for repeat in range(REPEATS))


def test_only_all_shards_of_one_run_are_joined(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(r"shards 2/3 are missing", out, parts[0], parts[2])
    twice = Path(shutil.copytree(parts[0], tmp_path / "twice"))
    refused("are the same shard: leave one", out, *parts, twice)
    refused("holds no shard of a run", out, *parts, parts[0].parent)
    refused("is no folder", out, tmp_path / "nowhere")
    (parts[0] / "problem_0099.json").write_bytes(next(parts[0].glob("problem_*")).read_bytes())
    refused("are both sample", out, *parts)
    (parts[0] / "problem_0099.json").unlink()
    stray = next(parts[1].glob("problem_*.json"))
    shutil.copy(stray, parts[0])
    refused("is a sample of none of the shards in", out, *parts)
    (parts[0] / stray.name).unlink()
    joined(out, *parts)
    refused("is there already and isn't empty", out, *parts)


def test_a_shard_that_is_not_finished_is_named(parts: list[Path], tmp_path: Path) -> None:
    first = next(parts[1].glob("problem_*.json"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-30])  # torn
    refused("shard-2-of-3 in .*part_2 isn't finished: it owes 1 of [24] samples", tmp_path / "out", *parts)
    first.write_bytes(whole.replace(b'"turn_limit"', b'"cancelled"').replace(b'"answered"', b'"cancelled"'))
    refused("shard-2-of-3 in .*part_2 isn't finished: it owes 1 of [24] samples", tmp_path / "out", *parts)
    first.write_bytes(whole)
    about = parts[2] / "shard-3-of-3.json"
    content = json.loads(about.read_text())
    about.write_text(json.dumps({**content, "summary": None}))
    refused("shard-3-of-3 in .*part_3 has not ended", tmp_path / "out", *parts)


def test_shards_with_other_settings_are_refused(data: Path, parts: list[Path], tmp_path: Path) -> None:
    async def others() -> None:
        async with runs(data) as run:
            await run(tmp_path / "other_turns", 2, small_model_temperature=0.1)
            await run(tmp_path / "other_cut", 2, 4)

    asyncio.run(others())
    refused(r"small_model_temperature: made with 0.8, now 0.1", tmp_path / "out", parts[0], tmp_path / "other_turns")
    refused("one of 3 shards, .* one of 4", tmp_path / "out", parts[0], tmp_path / "other_cut")


def test_a_folder_is_cut_in_one_way_and_each_shard_has_one_writer(data: Path, tmp_path: Path) -> None:
    async def attempts() -> None:
        async with runs(data) as run:
            await run(tmp_path / "cut", 1)
            with pytest.raises(UserError, match="cut into 3: give --shard i/3, or join"):
                await run(tmp_path / "cut")
            with pytest.raises(UserError, match="cut into 3: give --shard i/3, or join"):
                await run(tmp_path / "cut", 1, 4)
            await run(tmp_path / "whole")
            with pytest.raises(UserError, match="holds a run without shards"):
                await run(tmp_path / "whole", 1)
            both = await asyncio.gather(*(run(tmp_path / "cut", 2) for _ in range(2)), return_exceptions=True)
            assert ["another run is writing to" in str(one) for one in both].count(True) == 1
            with pytest.raises(UserError, match="there are only 5 questions"):
                await run(tmp_path / "many", 6, 6)

    asyncio.run(attempts())


def test_a_shard_that_was_interrupted_goes_on_and_leaves_the_others_chains_alone(
    made: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    async def interrupted() -> None:
        async with runs(data) as run:
            for number in (1, 2, 3):
                await cut_off(run(folder, number), lambda: len(list((folder / "under_way").glob("*"))) >= 2)
            for number in (3, 1, 2):
                await run(folder, number)

    asyncio.run(interrupted())
    joined(folder)
    assert told(folder) == told(made / "alone")


def test_rules_that_go_by_the_decisions_of_one_process_are_refused(data: Path) -> None:
    common = {**PAIR, "dataset_name": str(data), "shard": "1/2"}
    for more in ({"calibration": "online"}, {"calibration": "adaptive"}, {"p_value": "smoothed"}):
        with pytest.raises(ValueError, match="--shard: --calibration online and adaptive and --p_value smoothed"):
            make(AsyncSettings, **common, **more)


def test_what_shards_under_way_say_is_added_up(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "alone", tmp_path / "run"))
    one: progress.Status = {
        "at": 5.0,
        "seconds": 10.0,
        "total": 40,
        "before": 3,
        "by_status": {"answered": 4},
        "running": 2,  # type: ignore[typeddict-item]
        "turns": 30,
        "turns_per_second": 3.0,
        "turns_a_sample": 7.0,
        "tokens": {"draft": 100, "target": 10},
        "tokens_per_second": {"draft": 9.0, "target": 1.0},
        "scored": {"0": [8, 3]},
        "asked": 0.4,
        "graded": 4,
        "right": 2,
        "seconds_left": 60.0,
        "servers": {"draft": {"in_flight": 1, "waiting": 2, "limit": 8}},
    }
    other: progress.Status = {**one, "at": 4.0, "seconds_left": 90.0, "scored": {"0": [2, 1], "10": [1, 1]}}
    progress.write(folder, one, "shard-1-of-2")
    assert progress.read(folder) == one
    progress.write(folder, other, "shard-2-of-2")
    both = progress.read(folder)
    assert both is not None
    assert (both["total"], both["before"], both["at"], both["seconds_left"]) == (80, 6, 4.0, 90.0)
    assert both["scored"] == {"0": [10, 4], "10": [1, 1]}
    assert both["servers"]["draft"] == {"in_flight": 2, "waiting": 4, "limit": 16}
    progress.remove(folder, "shard-1-of-2")
    progress.remove(folder, "shard-2-of-2")
    assert "accuracy" in asyncio.run(watch(make(WatchSettings, run=folder)))
