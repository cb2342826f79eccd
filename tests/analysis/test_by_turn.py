"""What further turns bring, from result folders, published ones and recordings."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis import folders, intervals
from ATTS.analysis.accuracy import Graded
from ATTS.analysis.by_turn import by_turn, of_run
from ATTS.errors import UserError
from ATTS.store.recording import read_recording
from ATTS.tasks.equivalence import Verdict


def graded(question: int, right: bool) -> Graded:
    return Graded(question, "1", None, Verdict.EQUAL if right else Verdict.DIFFERENT, "answered", "1")


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30))
def test_accuracy_with_fewer_turns_counts_the_samples_that_had_stopped_by_then(samples: list[tuple[int, bool]]) -> None:
    found = [
        {"final_answer": "1", "full_history": [{"turn": turn, "model": "small"} for turn in range(turns)]}
        for turns, _ in samples
    ]
    rows = by_turn(found, [graded(number // 3, right) for number, (_, right) in enumerate(samples)])
    assert [row["turns"] for row in rows] == list(range(1, max(turns for turns, _ in samples) + 1))
    for row in rows:
        assert row["stopped"] == sum(turns == row["turns"] for turns, _ in samples)
        right = sum(right for turns, right in samples if turns <= row["turns"])
        assert row["accuracy"] == right / len(samples)
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
    whole = intervals.interval([right for _, right in samples], [number // 3 for number in range(len(samples))])
    assert (rows[-1]["low"], rows[-1]["high"]) == (whole.low, whole.high)


@pytest.mark.parametrize("name", ["ct1", "nonct"])
def test_a_recording_is_read_by_turn_as_its_own_grades_say(traces: Path, hub: Path, name: str) -> None:
    """As recorded and with braces whole; algebra knows a few more answers to be right than the recorded grades."""
    path = traces / f"traces_math500_{name}.jsonl.gz"
    recorded = read_recording(path)
    for again, key in ((False, "runtime"), (True, "balanced")):
        rows = of_run(path, "math500", None, hub, again)
        assert [row["turns"] for row in rows] == list(range(1, 16))
        assert sum(row["stopped"] for row in rows) == len(recorded)
        for turns in (1, 8, 15):
            stopped = [sample for sample in recorded if len(sample["turns"]) <= turns]
            graded = sum(bool(sample["correct"][key]) for sample in stopped) / len(recorded)
            assert rows[turns - 1]["accuracy"] == pytest.approx(graded, abs=0.02)
            assert sum(row["stopped"] for row in rows[:turns]) == len(stopped)


def recording(path: Path, **more: Any) -> Path:
    """Two questions, two samples each: nested braces, a second turn."""
    box = r"\boxed{\frac{1}{2}}"
    lines = [
        {
            "index": index,
            "question_id": index // 2,
            "question": f"Answer this. Question: number {index // 2}",
            "turns": [
                *[{"draft_text": "hm", "ppl": 2.0, "percentile": 0.9, "target_text": "so"}] * (index % 2),
                {"draft_text": box, "ppl": None, "percentile": None, "target_text": None},
            ],
            "final_answer": r"\frac{1",
            "duration": 1.0,
            **more,
        }
        for index in range(4)
    ]
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def data(path: Path, *problems: str) -> Path:
    path.write_text("".join(json.dumps({"problem": problem, "answer": "1/2"}) + "\n" for problem in problems))
    return path


def test_by_turn_reads_a_recording_and_its_answers_again(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl.gz")
    flags = (str(path), "--dataset_name", str(data(tmp_path / "data.jsonl", "number 0", "number 1")), "--repeats", "2")
    plain, again = (door("by_turn", *flags, *more, "--json", cwd=tmp_path) for more in ((), ("--read_again",)))
    assert plain.returncode == again.returncode == 0, plain.stderr + again.stderr
    rows = json.loads(plain.stdout)["run.jsonl.gz"]
    assert [(row["stopped"], row["right"], row["accuracy"]) for row in rows] == [(2, 0, 0.0), (2, 0, 0.0)]
    rows = json.loads(again.stdout)["run.jsonl.gz"]
    assert [(row["stopped"], row["right"], row["accuracy"]) for row in rows] == [(2, 2, 0.5), (2, 2, 1.0)]
    assert all(row["tokens"] is None for row in rows)


def test_what_is_no_run_or_another_data_set_is_said(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl.gz")
    other = str(data(tmp_path / "data.jsonl", "number 0", "something else"))
    with pytest.raises(UserError, match=r"a question that .* doesn't hold"):
        folders.load(path, other, 2, None)
    with pytest.raises(UserError, match=r"a question that .* doesn't hold"):
        folders.load(path, other, 1, None)
    with pytest.raises(UserError, match="give --dataset_name"):
        of_run(path, None, 2, None, again=False)
    with pytest.raises(UserError, match="neither a result folder nor a recording"):
        of_run(tmp_path / "none.jsonl", None, 2, None, again=False)
    text = tmp_path / "text.jsonl"
    text.write_text("no recording")
    with pytest.raises(UserError, match="can't be read"):
        of_run(text, None, 2, None, again=False)
