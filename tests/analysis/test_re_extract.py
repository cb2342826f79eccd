"""Answers read again by regex, and runs compared question by question, through the front doors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, door

from ATTS.analysis import compare, folders, tables
from ATTS.errors import UserError

USAGE = {"draft": {"written_tokens": 100}, "score": {"written_tokens": 0}, "continue": {"written_tokens": 20}}
ZERO = {"requests": 1, "prompt_tokens": 1, "cached_tokens": 0, "queue_seconds": 0.0, "serve_seconds": 1.0}


def make(folder: Path, answers: dict[int, str], repeats: int = 2, seconds: float = 1.0, **settings: Any) -> Path:
    """A finished run of this project's: question q is "q?" and its answer is q. The answer at run time is that
    of ``answers`` up to the slash, the chain's is all of it, split there between two chunks."""
    folder.mkdir()
    about = {"settings": {"repeats": repeats, "dataset_name": "data.jsonl", **settings}}
    (folder / "settings.json").write_text(json.dumps(about))
    for index, answer in answers.items():
        first, _, second = answer.partition("/")
        content = {
            "schema": 1,
            "problem_index": index,
            "exit_status": "answered",
            "final_answer": first or "invalid",
            "reference_answer": str(index // repeats),
            "duration_seconds": seconds,
            "usage": {stage: {**ZERO, **used} for stage, used in USAGE.items()},
            "question": f"{index // repeats}?",
            "full_history": [
                {"turn": 0, "model": "small", "output": f"<think>\\boxed{{9}}</think> So \\boxed{{{first}"},
                {"turn": 0, "model": "eval_generate", "output": f"{second}}}."},
            ],
        }
        (folder / f"problem_{index:04d}.json").write_text(json.dumps(content))
    wall = {"samples": len(answers), "owed": 0, "wall_seconds": seconds * 10, "samples_in_wall_seconds": len(answers)}
    (folder / "summary.json").write_text(json.dumps(wall))
    return folder


def test_the_script_rereads_a_folder_whole_files_only_and_grades_it(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", {0: "/0", 1: "0./0", 2: "1./00", 3: "7/1"})
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"problem": f"{q}?", "answer": str(q)}) + "\n" for q in range(3)))
    (folder / "problem_0005.json").write_text('{"problem_index": 5, "full_hi')  # torn
    environment = {"INPUT_DIR": str(folder), "DATASET": str(data), "REPEATS": "2", "PYTHON": sys.executable}

    def run(**more: str) -> str:
        script = [ROOT / "scripts/re_extract_answer.sh"]
        return subprocess.check_output(script, env={**os.environ, **environment, **more}, text=True, timeout=200)

    before = {path: path.read_bytes() for path in folder.iterdir()}
    told = run(DRY_RUN="1")
    assert "4 of 4 answers would change" in told
    assert "accuracy of a sample (mean accuracy) 75.0 %" in told
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    run()
    samples = [json.loads((folder / f"problem_{i:04d}.json").read_text()) for i in range(4)]
    assert [s["final_answer"] for s in samples] == ["0", "0.0", "1.00", "71"]
    assert [s["final_answer_regex"] for s in samples] == ["0", "0.0", "1.00", "71"]
    assert [s["final_answer_runtime"] for s in samples] == ["invalid", "0.", "1.", "7"]
    assert json.loads((folder / "summary.json").read_text())["mean_accuracy"] == 0.75
    after = {path: path.read_bytes() for path in folder.iterdir()}
    assert "0 of 4 answers changed" in run()
    assert {path: path.read_bytes() for path in folder.iterdir()} == after


def test_what_a_folder_should_hold_is_what_its_run_was_to_make(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", {0: "0", 3: "1", 4: "2"})
    assert folders.load(folder, None, None, None).missing == 0  # its summary says three
    (folder / "problem_0003.json").unlink()
    assert folders.load(folder, None, None, None).missing == 1
    (folder / "summary.json").unlink()
    assert folders.load(folder, None, None, None).missing == 4  # three questions at least
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"problem": f"{q}?", "answer": str(q)}) + "\n" for q in range(10)))
    assert folders.load(folder, str(data), None, None).missing == 18
    limited = make(tmp_path / "limited", {0: "0"}, max_problems=4)
    (limited / "summary.json").unlink()
    assert folders.load(limited, str(data), None, None).missing == 7


def test_runs_are_paired_by_question_and_compared_with_the_first(tmp_path: Path) -> None:
    """Question 0 right in both, 1 in the second only, 2 in none, 3 not in the first."""
    a = make(tmp_path / "a", {0: "0", 1: "0", 2: "8", 3: "8", 4: "9", 5: "9"}, seconds=3.0)
    b = make(tmp_path / "b", {0: "0", 1: "0", 2: "1", 3: "1", 4: "9", 5: "9", 6: "3", 7: "3"}, seconds=1.5)
    first, second = compare.rows([a, b], None, None, None)
    against = second["against_first"]
    assert first["against_first"] is None
    assert against["questions"] == 3
    assert against["accuracy"] == {"difference": pytest.approx(1 / 3), "low": pytest.approx(-0.8388506), "high": 1}
    assert against["tokens_ratio"]["ratio"] == 1
    assert against["sample_speed_up"]["ratio"] == 2
    assert against["speed_up"] == pytest.approx((30 / 6) / (15 / 8))
    assert "+33.3 (-83.9 - +100.0)" in tables.table([first, second]).splitlines()[3]
    other = make(tmp_path / "other", {0: "0"})
    content = json.loads((other / "problem_0000.json").read_text())
    (other / "problem_0000.json").write_text(json.dumps({**content, "question": "another"}))
    with pytest.raises(UserError, match="not the same data set"):
        compare.rows([a, other], None, None, None)
    told = door("compare", str(a), str(b), "--json", cwd=tmp_path)
    assert json.loads(told.stdout)[1]["against_first"] == second["against_first"]
