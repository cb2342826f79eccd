"""Result folders graded with data sets and by drivers of other people: matched by question, or refused by name."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from chances import NO_DIGESTS
from hypothesis import given, settings
from hypothesis import strategies as st

from ATTS.analysis import folders
from ATTS.analysis.compare import CompareSettings, compare
from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.analysis.re_extract import ReExtractSettings, re_extract
from ATTS.errors import ExitStatus, UserError
from ATTS.flags import make
from ATTS.method.chain import Chain
from ATTS.store.records import Keys, record
from ATTS.tasks import datasets
from ATTS.tasks.answers import find_answer

REPEATS = 2


def data_set(path: Path, questions: Sequence[str], answer: Callable[[str], str] = lambda q: q) -> str:
    rows = [{"problem": f"What is {q}?", "answer": answer(q)} for q in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def published(folder: Path, questions: Sequence[str], repeats: int = REPEATS, **more: Any) -> Path:
    """As the published driver writes: every first sample right, every other one wrong."""
    folder.mkdir()
    for index in range(len(questions) * repeats):
        question = questions[index // repeats]
        answer = question if index % repeats == 0 else "no"
        content = {
            "problem_index": index,
            "final_answer": answer,
            "duration_seconds": 1.0,
            "full_history": [{"turn": 0, "model": "small", "output": f"\\boxed{{{answer}}}"}],
            "question": f"What is {question}?",
        }
        (folder / f"problem_{index:04d}.json").write_text(json.dumps({**content, **more}))
    return folder


def own(folder: Path, data: str, repeats: int = REPEATS) -> Path:
    """The same samples as this project writes them."""
    questions = datasets.load(data)
    folder.mkdir()
    for key in Keys(questions, repeats):
        made = record(key, Chain(find_answer), ExitStatus.ANSWERED, None, 1.0, NO_DIGESTS)
        made["final_answer"] = key.question.answer if key.repeat == 0 else "no"
        (folder / f"problem_{key.index:04d}.json").write_text(json.dumps(made))
    (folder / "settings.json").write_text(json.dumps({"settings": {"repeats": repeats, "dataset_name": data}}))
    return folder


def accuracy(folder: Path, data: str | None = None, repeats: int | None = None) -> float | None:
    samples = folders.load(folder, data, repeats, None)
    right = [str(s["final_answer"]) == ref for s, ref in zip(samples.samples, samples.references, strict=True)]
    return sum(right) / len(right)


@settings(max_examples=10)
@given(order=st.permutations(list("12345")))
def test_a_data_set_in_another_order_gives_the_same_accuracy(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    first = data_set(folder / "first.jsonl", "12345")
    other = data_set(folder / "other.jsonl", order)
    for run in (published(folder / "published", "12345"), own(folder / "own", first)):
        for repeats in (REPEATS, None):
            assert accuracy(run, other, repeats) == 0.5
            loaded = folders.load(run, other, repeats, None)
            assert [order[s["question_index"]] for s in loaded.samples] == [q for q in "12345" for _ in range(REPEATS)]
            assert loaded.repeats == REPEATS


@pytest.mark.parametrize("kind", ["published", "own"])
def test_another_data_set_is_refused(tmp_path: Path, kind: str) -> None:
    first = data_set(tmp_path / "first.jsonl", "123")
    other = data_set(tmp_path / "other.jsonl", "456")
    run = published(tmp_path / "run", "123") if kind == "published" else own(tmp_path / "run", first)
    with pytest.raises(UserError, match=r"other\.jsonl doesn't hold \('What is 1\?'\)"):
        accuracy(run, other)
    longer = data_set(tmp_path / "longer.jsonl", "4512637")
    assert accuracy(run, longer) == 0.5


def test_repeats_against_the_folders_own_settings_are_refused(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data.jsonl", "123")
    run = own(tmp_path / "run", data)
    for name in (data, None):
        with pytest.raises(UserError, match=r"made with 2 repeats .* settings\.json"):
            accuracy(run, name, 3)
        assert accuracy(run, name, 2) == accuracy(run, name) == 0.5


@pytest.mark.parametrize("repeats", [1, 2, 3, 5, 16])
def test_a_published_folder_of_any_repeats_is_grouped_by_question(tmp_path: Path, repeats: int) -> None:
    data = data_set(tmp_path / "data.jsonl", "1234")
    run = published(tmp_path / "run", "1234", repeats)
    for given_repeats in (None, repeats, 4):
        result = json.loads(
            asyncio.run(
                grade(make(AccuracySettings, output_dir=run, dataset_name=data, repeats=given_repeats, json=True))
            )
        )
        assert [row["samples"] for row in result["per_question"]] == [repeats] * 4
        assert result["mean_accuracy"] == pytest.approx(1 / repeats)
        assert all(row["right"] == 1 for row in result["per_question"])


def test_equal_questions_with_other_answers_are_told_apart_by_number_or_refused(tmp_path: Path) -> None:
    rows = [{"problem": "Which?", "answer": "1"}, {"problem": "Which?", "answer": "2"}]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = published(tmp_path / "run", "12", question="Which?")
    assert accuracy(run, str(data), REPEATS) == 0.5
    data.write_text(json.dumps({"problem": "other", "answer": "0"}) + "\n" + data.read_text())
    for index in (2, 3):
        (run / f"problem_{index:04d}.json").unlink()
    with pytest.raises(UserError, match="could be of question 1, 2"):
        accuracy(run, str(data), REPEATS)


def test_published_gpqa_folders_have_the_answer_in_the_first_place(tmp_path: Path) -> None:
    folder = tmp_path / "Idavidrein/gpqa/gpqa_diamond"
    folder.mkdir(parents=True)
    columns = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    rows = [{"Question": f"What is {q}?", **{c: c + q for c in columns}} for q in "ABC"]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = published(tmp_path / "run", "ABC", final_answer="A")
    assert set(folders.load(run, "gpqa", REPEATS, tmp_path).references) == {"A"}


LAYOUTS: dict[str, dict[str, Any]] = {
    "entries without a model": {
        "full_history": [{"turn": 0, "output": "\\boxed{1}"}, {"event": "fork", "my_score": 1}]
    },
    "texts alone, the question first": {"full_history": ["What is 1?", "So ", "\\boxed{1}"]},
    "no history": {"full_history": []},
    "numbers as text": {
        "problem_index": "0",
        "duration_seconds": "1.5",
        "full_history": [
            {"turn": "0", "model": "small", "output": "\\boxed{1}"},
            {"turn": "0", "model": "eval_ppl", "ppl": "1.5", "percentile": "0.5"},
        ],
    },
    "another program's usage": {"usage": {"total_tokens": 5}, "exit_status": ["x"], "schema": None},
    "steps of the single-model drivers": {
        "full_history": [
            {"turn": 0, "model": "draft", "output": "x", "ppl": 1.2, "percentile": 0.7, "accepted": False},
            {"turn": 0, "model": "draft", "output": "\\boxed{1}", "ppl": 1.1, "percentile": 0.1, "accepted": True},
            {"turn": 0, "model": "self_ppl", "ppl": float("inf"), "percentile": 1.0},
            {"turn": 0, "model": "self_continue", "output": ""},
        ]
    },
    "budget prediction": {"full_history": [{"turn": 0, "model": "eval_ppl", "ppl": 1.5, "should_takeover": 1}]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_the_published_drivers_are_graded_compared_and_read_again(tmp_path: Path, layout: str) -> None:
    data = data_set(tmp_path / "data.jsonl", "1")
    run = published(tmp_path / "run", "1", 1, **{k: v for k, v in LAYOUTS[layout].items() if v is not None})
    (run / "summary.json").write_text('{"samples": [1, 2], "accuracy": "high"}')
    (run / "settings.json").write_text('["another program"]')
    flags: dict[str, Any] = {"dataset_name": data, "json": True}
    result = json.loads(asyncio.run(grade(make(AccuracySettings, output_dir=run, **flags))))
    assert (result["mean_accuracy"], result["samples"]) == (1.0, 1)
    assert json.loads(asyncio.run(compare(make(CompareSettings, runs=(run, run), **flags))))[0]["mean_accuracy"] == 1.0
    before = {path: path.read_bytes() for path in run.iterdir()}
    again = json.loads(asyncio.run(re_extract(make(ReExtractSettings, input_dir=run, **flags))))
    assert again["changed"] == (layout in ("no history", "budget prediction"))
    for path, content in before.items():
        if path.name == "problem_0000.json":
            old, new = json.loads(content), json.loads(path.read_bytes())
            assert {name: new[name] for name in old if name != "final_answer"} | {"final_answer": "1"} == old
        else:
            assert path.read_bytes() == content


def test_a_sample_without_a_final_answer_is_unanswered(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data.jsonl", "1")
    run = published(tmp_path / "run", "1", 2)
    content = json.loads((run / "problem_0001.json").read_text())
    del content["final_answer"]
    (run / "problem_0001.json").write_text(json.dumps(content))
    result = json.loads(asyncio.run(grade(make(AccuracySettings, output_dir=run, dataset_name=data, json=True))))
    assert (result["mean_accuracy"], result["unanswered"]) == (0.5, 1)
    assert "1 samples have an answer now" in asyncio.run(
        re_extract(make(ReExtractSettings, input_dir=run, dataset_name=data))
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"problem_index": "one"}, "problem_index is 'one', not a number"),
        ({"problem_index": 1.5}, "not a whole number"),
        ({"problem_index": True}, "not a number"),
        ({"full_history": {"turn": 0}}, "full_history is no list"),
        ({"full_history": [5]}, "neither a text nor an object"),
        ({"full_history": [{"turn": "first"}]}, "turn of entry 0 is 'first'"),
        ({"full_history": [{"output": ["x"]}]}, "output of entry 0 is no text"),
        ({"full_history": [{"ppl": "low"}]}, "ppl of entry 0"),
        ({"final_answer": ["1"]}, "final_answer is neither"),
        ({"duration_seconds": []}, "duration_seconds"),
        ({"schema": 7}, "has schema 7"),
    ],
)
def test_any_other_layout_is_refused_with_its_file(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    run = published(tmp_path / "run", "1", 1, **more)
    with pytest.raises(UserError, match=f"problem_0000.json.*{message}"):
        accuracy(run, data_set(tmp_path / "data.jsonl", "1"))


@pytest.mark.parametrize("content", ["[]", "5", "{}", '{"answer": 1}', "[" * 200_000])
def test_a_file_that_is_no_sample_is_named(tmp_path: Path, content: str) -> None:
    run = published(tmp_path / "run", "1", 1)
    (run / "problem_0001.json").write_text(content)
    with pytest.raises(UserError, match=r"problem_0001\.json"):
        accuracy(run, data_set(tmp_path / "data.jsonl", "1"))


def test_a_sample_that_is_there_twice_is_named(tmp_path: Path) -> None:
    run = published(tmp_path / "run", "1", 1)
    (run / "problem_1.json").write_bytes((run / "problem_0000.json").read_bytes())
    with pytest.raises(UserError, match=r"problem_0000\.json and .*problem_1\.json are both sample 0"):
        accuracy(run, data_set(tmp_path / "data.jsonl", "1"))


def test_half_a_character_in_a_sample_is_kept(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data.jsonl", "1")
    history = [{"turn": 0, "model": "small", "output": "\ud835 \\boxed{1}"}]
    run = published(tmp_path / "run", "1", 1, full_history=history, final_answer="\ud835")
    told = asyncio.run(re_extract(make(ReExtractSettings, input_dir=run, dataset_name=data)))
    assert "1 of 1 answers changed" in told
    assert json.loads((run / "problem_0000.json").read_text())["full_history"] == history


def test_two_references_of_one_question_are_named_and_reading_again_corrects_them(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data.jsonl", "12")
    run = own(tmp_path / "run", data)
    data_set(tmp_path / "data.jsonl", "12", lambda q: q if q == "1" else "no")
    asyncio.run(re_extract(make(ReExtractSettings, input_dir=run, dataset_name=data, extract_mode="regex")))
    assert folders.load(run, None, None, None).references == folders.load(run, data, None, None).references
    path = run / "problem_0003.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "reference_answer": "7"}))
    with pytest.raises(UserError, match=r"question 1 .* two reference answers, 'no' and '7'"):
        folders.load(run, None, None, None)
