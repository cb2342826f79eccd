"""Data sets: the published questions in the published order, own files, clear errors."""

import gzip
import json
from pathlib import Path

import pytest

from ATTS.errors import UserError
from ATTS.tasks import datasets


@pytest.mark.parametrize(
    ("name", "count"), [("aime24", 15), ("amc", 40), ("math500", 100), ("math500_easy", 133), ("olympiad", 50)]
)
def test_local_copies_load_with_an_answer_for_every_question(hub: Path, name: str, count: int) -> None:
    questions = datasets.load(name, hub)
    assert len(questions) == count
    assert [q.index for q in questions] == list(range(count))
    assert all(q.problem.strip() and q.answer.strip() for q in questions)
    assert all(not q.answer.endswith(".0") for q in questions)
    assert datasets.load(name, hub, max_problems=3) == questions[:3]


def test_math500_questions_are_those_of_the_recorded_runs_in_their_order(hub: Path, traces: Path) -> None:
    questions = datasets.load("math500", hub)
    listed = json.loads((traces / "math500_gt_open.json").read_text())
    truth = {row["question_id"]: row["answer"] for row in listed}
    with gzip.open(traces / "traces_math500_ct1.jsonl.gz", "rt") as lines:
        for line in lines:
            recorded = json.loads(line)
            assert recorded["question"] == questions[recorded["question_id"]].problem
            assert truth[recorded["question_id"]] == questions[recorded["question_id"]].answer


def test_gpqa_choices_are_shuffled_and_the_right_letter_follows(tmp_path: Path) -> None:
    folder = tmp_path / "Idavidrein/gpqa/gpqa_diamond"
    folder.mkdir(parents=True)
    rows = [
        {"Question": f"q{i}", "Correct Answer": f"right {i}", **{f"Incorrect Answer {k}": f"w{k}" for k in (1, 2, 3)}}
        for i in range(60)
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    questions = datasets.load("gpqa", tmp_path)
    assert all(q.choices["ABCD".index(q.answer)] == f"right {q.index}" for q in questions)
    assert {q.answer for q in questions} == set("ABCD")
    assert questions == datasets.load("gpqa", tmp_path)
    assert "A. " in questions[0].prompt
    assert r"\boxed{A}" in questions[0].prompt


def test_a_parquet_copy_loads_like_a_jsonl_copy(hub: Path, tmp_path: Path) -> None:
    import pandas

    rows = pandas.read_json(hub / "simplescaling/aime24_nofigures/train.jsonl", lines=True, dtype=False)
    copy = tmp_path / "simplescaling/aime24_nofigures/train.parquet"
    copy.parent.mkdir(parents=True)
    rows.to_parquet(copy)
    assert datasets.load("aime24", tmp_path) == datasets.load("aime24", hub)


def test_an_own_file_is_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "1+1?", "answer": 2.0}\n\n{"problem": "x?", "answer": "B", "choices": ["p", "q"]}\n')
    first, second = datasets.load(str(path))
    assert (first.answer, second.answer, second.choices) == ("2", "B", ("p", "q"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "x"}', "line 1: no answer"),
        ('{"problem": "x", "answer": "1"}\n{"answer": "2"}', "line 2: no problem"),
        ("nonsense", "line 1: not JSON"),
        ("[1]", "line 1: not a JSON object"),
        ('{"problem": "x", "answer": "E", "choices": ["p", "q"]}', "a letter A-B, not 'E'"),
        ("", "holds no questions"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        datasets.load(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown data set 'aime23'.*aime24.*olympiad.*demo"):
        datasets.load("aime23")


def test_a_missing_local_copy_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no test\.jsonl or test\.parquet in .*MATH-500"):
        datasets.load("math500", tmp_path)


def test_a_calibration_split_is_disjoint_complete_and_the_same_again(hub: Path) -> None:
    questions = datasets.load("math500", hub)
    kept, others = datasets.split_for_calibration(questions, 0.3, seed=5)
    assert len(kept) == 30
    assert sorted(q.index for q in kept + others) == list(range(100))
    assert datasets.split_for_calibration(questions, 0.3, seed=5) == (kept, others)
    with pytest.raises(UserError, match="at least one"):
        datasets.split_for_calibration(questions[:2], 0.1, seed=0)
