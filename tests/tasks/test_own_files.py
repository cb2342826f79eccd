"""Data files that other people wrote: read as they mean it, or refused with the line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs import questions
from ATTS.runs.settings import BaselineSettings
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question

SPREAD = "\n\n"  # blank lines before the line in question: lines are counted, not rows


def load(folder: Path, content: str | bytes) -> list[Question]:
    path = folder / "mine.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return datasets.load(str(path))


def line(**fields: Any) -> str:
    return json.dumps({"problem": "x?", "answer": "A", **fields})


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("0.00005", "0.00005"),
        ("5e-05", "0.00005"),
        ("1.5E3", "1500"),
        ("0.50", "0.50"),
        ("2.0", "2"),
        ("-7", "-7"),
        ("1e100000", "1e100000"),
        ("0.1234567890123456789012345", "0.1234567890123456789012345"),
        ("9" * 5000, "9" * 5000),
        ('" 1/2 "', "1/2"),
        ('"1e-3"', "1e-3"),
        ("true", "true"),
    ],
)
def test_a_reference_is_read_as_it_is_written(tmp_path: Path, written: str, answer: str) -> None:
    assert load(tmp_path, f'{{"problem": "x?", "answer": {written}}}')[0].answer == answer


@given(digits=st.integers(1, 10**18), places=st.integers(0, 25))
def test_decimals_keep_their_value_and_get_no_exponent(
    tmp_path_factory: pytest.TempPathFactory, digits: int, places: int
) -> None:
    text = f"{digits}e-{places}"
    answer = load(tmp_path_factory.mktemp("own"), f'{{"problem": "x?", "answer": {text}}}')[0].answer
    assert "e" not in answer.lower()
    whole, _, decimals = answer.partition(".")
    assert int(whole + decimals) * 10 ** (25 - len(decimals)) == digits * 10 ** (25 - places)


@pytest.mark.parametrize("answer", ['["1", "2"]', "[]", '{"value": 5}', "NaN", "Infinity", '"  "', '""', "null"])
def test_a_reference_that_is_no_text_or_number_is_refused_with_its_line(tmp_path: Path, answer: str) -> None:
    with pytest.raises(UserError, match=r"mine\.jsonl, line 4: .*answer"):
        load(tmp_path, f'{line()}{SPREAD}\n{{"problem": "x?", "answer": {answer}}}')


@pytest.mark.parametrize("problem", [["a"], {"role": "user"}, " ", float("nan")])
def test_a_problem_that_is_no_text_is_refused_with_its_line(tmp_path: Path, problem: object) -> None:
    with pytest.raises(UserError, match=r"line 3: .*problem"):
        load(tmp_path, SPREAD + line(problem=problem))


@pytest.mark.parametrize(
    ("choices", "answer", "texts", "letter"),
    [
        (["p", "q", "r"], "C", ("p", "q", "r"), "C"),
        (["p", "q", "r"], "b", ("p", "q", "r"), "B"),
        ([0.25, 1, "q"], "A", ("0.25", "1", "q"), "A"),
        ({"text": ["p", "q"], "label": ["A", "B"]}, "B", ("p", "q"), "B"),
        ({"text": ["p", "q", "r"], "label": ["1", "2", "3"]}, "2", ("p", "q", "r"), "B"),
        ({"text": ["p", "q"], "label": [1, 2]}, 2, ("p", "q"), "B"),
        ({"A": "p", "B": "q", "C": "r"}, "C", ("p", "q", "r"), "C"),
        ({"B": "q", "A": "p"}, "A", ("p", "q"), "A"),
        ([{"label": "A", "text": "p"}, {"label": "B", "text": "q"}], "B", ("p", "q"), "B"),
        (list("abcdefghij"), "J", tuple("abcdefghij"), "J"),
        ([], "5", (), "5"),
        (None, "5", (), "5"),
    ],
)
def test_the_layouts_of_public_data_sets_are_read(
    tmp_path: Path, choices: object, answer: object, texts: tuple[str, ...], letter: str
) -> None:
    question = load(tmp_path, line(choices=choices, answer=answer))[0]
    assert (question.choices, question.answer) == (texts, letter)
    assert question.prompt


@pytest.mark.parametrize(
    ("choices", "answer", "message"),
    [
        (["p", "q", "r"], "AB", "a letter A-C, not 'AB'"),
        (["p", "q", "r"], "D", "a letter A-C, not 'D'"),
        (["p", "q", "r"], 1, "a letter A-C, not '1'"),
        ("p, q or r", "A", "choices must be a list"),
        ({"text": "p", "label": "A"}, "A", "as long a list of labels"),
        ({"text": ["p", "q"], "label": ["A"]}, "A", "as long a list of labels"),
        ({"text": ["p", "q"], "label": ["1", "2"]}, "A", "one of their labels"),
        ({"text": ["p", "q"], "label": ["A", "A"]}, "A", "same label"),
        (list("abcdefghijk"), "K", "11 choices; a multiple-choice question has 2 to 10"),
        (["p"], "A", "1 choice;"),
        (["p", ["q"]], "A", "choice B is a list"),
        (["p", " "], "A", "choice B is blank"),
        (["p", None], "A", "no choice B"),
        (5, "A", "choices must be a list"),
    ],
)
def test_choices_that_make_no_question_are_refused_with_their_line(
    tmp_path: Path, choices: object, answer: object, message: str
) -> None:
    with pytest.raises(UserError, match=f"line 3: .*{message}"):
        load(tmp_path, SPREAD + line(choices=choices, answer=answer))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_of_json_is_read(tmp_path: Path, encoding: str) -> None:
    rows = "\r\n".join(
        json.dumps({"problem": f"{q} é € \u2028 \U0001d4b3?", "answer": str(q)}, ensure_ascii=False) for q in "12"
    )
    assert [(q.problem, q.answer) for q in load(tmp_path, rows.encode(encoding))] == [
        ("1 é € \u2028 \U0001d4b3?", "1"),
        ("2 é € \u2028 \U0001d4b3?", "2"),
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gb2312"])
def test_any_other_encoding_is_refused_with_the_line_and_how_to_convert(tmp_path: Path, encoding: str) -> None:
    text = "é" if encoding != "gb2312" else "角"
    foreign = json.dumps({"problem": text, "answer": "1"}, ensure_ascii=False).encode(encoding)
    with pytest.raises(UserError, match=r"mine\.jsonl, line 3: not UTF-8 text .*iconv"):
        load(tmp_path, line().encode() + b"\n\n" + foreign)


@pytest.mark.parametrize(
    "fields", [{"problem": "a \ud835?"}, {"answer": "\udfff"}, {"choices": ["p", "\ud800"]}, {"group": "\ud800"}]
)
def test_half_a_character_is_refused_with_its_line(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"line 3: .* lone surrogate"):
        load(tmp_path, SPREAD + line(**fields))


def test_a_line_nested_without_end_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3: .*nested"):
        load(tmp_path, SPREAD + '{"problem": ' + "[" * 100_000)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match="does not exist"):
        datasets.load(str(tmp_path / "folder.jsonl"))


def test_a_damaged_parquet_copy_is_named(tmp_path: Path) -> None:
    path = tmp_path / "simplescaling/aime24_nofigures/train.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"train\.parquet can't be read as Parquet"):
        datasets.load("aime24", tmp_path)


def test_a_local_copy_of_a_known_data_set_is_checked_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "simplescaling/aime24_nofigures/train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"problem": "x?", "answer": 0.00005, "unused": NaN}\n\n{"problem": "y?", "answer": NaN}\n')
    with pytest.raises(UserError, match=r"train\.jsonl, line 3: the answer is not a number"):
        datasets.load("aime24", tmp_path)


def test_equal_questions_stay_on_one_side_of_a_split_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text("".join(json.dumps({"problem": str(q % 5), "answer": str(q)}) + "\n" for q in range(8)))
    loaded = datasets.load(str(path))
    for seed in range(20):
        sides = datasets.split_for_calibration(loaded, 0.4, seed)
        assert not {q.id for q in sides[0]} & {q.id for q in sides[1]}
        assert sorted(q.index for side in sides for q in side) == list(range(8))
        assert len({q.id for q in sides[0]}) == 2
    questions.to_evaluate(
        make(BaselineSettings, dataset_name=str(path), small_model_name="m", calibration_split=0.4).data
    )
    told = capsys.readouterr().err
    assert "questions 0, 5 of" in told
    assert "questions 2, 7 of" in told
