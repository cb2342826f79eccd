"""Runs that go on although their data file is named in another way, or was corrected."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import provenance, result_folder

CONTENT = Scripted(
    lambda ask: Written(r"It is \boxed{1}.") if "Hence: " in ask.text else Written("Hence: ", "length"),
    lambda ask, start: [-0.5] * len(ask.ids[start:]),
)


def write(path: Path, answers: dict[str, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"problem": q, "answer": a}) + "\n" for q, a in answers.items()))


def served(work: Callable[[dict[str, Any]], Awaitable[Any]]) -> Any:
    """``work`` with the settings that name a pair of emulated servers."""

    async def run() -> Any:
        draft = Served(role="draft", name="demo-draft", content=CONTENT)
        target = Served(role="target", name="demo-target", content=CONTENT)
        async with Server(draft) as first, Server(target) as second:
            urls = {"small_model_url": first.url, "eval_model_url": second.url}
            return await work({**urls, "small_model_name": "demo-draft", "eval_model_name": "demo-target"})

    return asyncio.run(run())


def test_the_same_file_under_another_path_goes_on_and_its_array_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {"first?": "1", "second?": "2", "third?": "1"}
    write(tmp_path / "mine.jsonl", answers)
    write(tmp_path / "moved/mine.jsonl", answers)
    write(tmp_path / "longer.jsonl", {**answers, "fourth?": "1"})
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "mine.jsonl")
    array = Path("array.npy")

    async def work(pair: dict[str, Any]) -> None:
        async def evaluate(name: str) -> None:
            sampled = {"repeats": 2, "turns": 2, "output_dir": Path("run"), "ppl_array_path": array}
            await evaluate_async(make(AsyncSettings, dataset_name=name, **sampled, **pair), per_question=False)

        for name in ("mine.jsonl", "moved/mine.jsonl"):
            settings = make(ConformalSettings, dataset_name=name, sample_size=3, ppl_array_path=array, **pair)
            await calibrate(settings, per_question=False)
        assert "already there, made with these settings" in capsys.readouterr().err
        await evaluate("mine.jsonl")
        for name in ("./mine.jsonl", str(tmp_path / "mine.jsonl"), "moved/../moved/mine.jsonl", "link.jsonl"):
            await evaluate(name)
            assert "6 of 6 samples are already in run" in capsys.readouterr().err
        with pytest.raises(UserError, match="questions: made with"):
            await evaluate("longer.jsonl")

    served(work)


def test_a_corrected_reference_gives_one_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def work(pair: dict[str, Any]) -> None:
        settings = make(
            BaselineSettings,
            **{name: value for name, value in pair.items() if name.startswith("small")},
            dataset_name="mine.jsonl",
            repeats=2,
            turns=2,
            output_dir=Path("run"),
        )
        for second, accuracy in (("2", 0.5), ("1", 1.0)):
            write(tmp_path / "mine.jsonl", {"first?": "1", "second?": second})
            await evaluate_alone(settings)
            assert result_folder.summary(Path("run"))["mean_accuracy"] == accuracy
            for name in (None, "mine.jsonl"):
                told = await grade(make(AccuracySettings, output_dir=Path("run"), dataset_name=name, json=True))
                assert json.loads(told)["mean_accuracy"] == accuracy

    served(work)


@pytest.mark.parametrize(
    ("made", "wanted", "same"),
    [
        ({"dataset_name": "a.jsonl", "questions": "1"}, {"dataset_name": "b.jsonl", "questions": "1"}, True),
        ({"dataset_name": "a.jsonl", "questions": "1"}, {"dataset_name": "a.jsonl", "questions": "2"}, False),
        ({"dataset_name": "x/../a.jsonl"}, {"dataset_name": "a.jsonl", "questions": "2"}, True),
        ({"dataset_name": "gone.jsonl"}, {"dataset_name": "a.jsonl", "questions": "2"}, False),
        ({"dataset_name": "math500"}, {"dataset_name": "a.jsonl", "questions": "2"}, False),
        ({"dataset_name": "a.jsonl"}, {"dataset_name": "math500"}, False),
        ({"dataset_name": "math500"}, {"dataset_name": "math500"}, True),
        ({"dataset_name": "a.jsonl"}, {"dataset_name": "b.jsonl"}, True),  # a folder: its samples tell
        ({"made_for": {"dataset_name": "a.jsonl", "questions": "1"}}, {"made_for": {"questions": "2"}}, False),
    ],
)
def test_a_data_file_is_the_same_if_its_questions_are(
    made: dict[str, object], wanted: dict[str, object], same: bool
) -> None:
    assert (provenance.differences(made, wanted) == []) == same
