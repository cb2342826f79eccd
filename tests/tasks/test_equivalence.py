"""Whether answers mean the same, whatever they look like, and that a check always ends."""

import itertools
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import adversarial
import equivalence_cases
import pytest
from conftest import SHARED
from grading import children
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import UserError
from ATTS.tasks import notation, quantities
from ATTS.tasks.answers import find_answer
from ATTS.tasks.equivalence import LONGEST, Grader, Verdict, compare_quickly, read

EQUAL = [
    ("7", "007"),
    ("073", "73"),
    ("11,\\! 111,\\! 111,\\! 100", "11,111,111,100"),
    ("58,500", "58{,}500"),
    (r"\$32,\!348", "32348"),
    (r"\$18.90", "18.9 dollars"),
    ("B", "(B)"),
    (r"\text{(C)}", r"\textbf{C}"),
    ("A", "A. 5 cm"),
    ("C", r"\text{c}"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac43", "4/3"),
    (r"\frac 59", r"\dfrac{5}{9}"),
    (r"1\frac{4}{5}", r"\frac{9}{5}"),
    (r"137 \frac{1}{2}", "137.5"),
    (r"\frac{1}{3}", "0.3333333"),
    ("10^{-3}", ".001"),
    (r"3 \times 10^4", "30000"),
    (".0000672", "0.000067\n\n2"),  # published runs joined chunks by a blank line
    ("12", r"12^{\text{th}} \text{ grade}"),
    ("12", "12th grade"),
    ("x=5", "5"),
    ("5", "x = 5"),
    ("-7", "x = \u22127"),
    ("90^\\circ", "90 degrees"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^{\circ}"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    (r"15\mbox{ cm}^2", "15"),
    (r"5.4 \text{ cents}", "5.4"),
    ("6", r"6 \text{ Trinkets}"),
    (r"12\pi", r"12\pi \text{ cm}"),
    ("15", r"15\%"),
    (r"15\%", "0.15"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{ellipse}", "An ellipse."),
    ("2516_8", r"2516_{\text{eight}}"),
    ("2516_8", "2516 in base 8"),
    ("1010", "1010_2"),
    ("1,-2", r"-2 \text{ and } 1"),
    ("3, 5, 7", r"\{7,5,3\}"),
    ("-2,1", "1, -2"),
    ("-2,1", "x = 1, x = -2"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"\frac{11}{2}", r"\dfrac{11}{2}, 5.5"),  # one answer in two forms
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{bmatrix} -\frac{1}{3} \\ \frac{2}{3} \end{bmatrix}"),
    (r"\begin{pmatrix} -7 \\ 16 \\ 5 \end{pmatrix}", "(-7,16,5)"),
    ("(3,4]", r"3 < x \le 4"),
    (r"x \in [-2,7]", "[-2,7]"),
    (r"(2,\infty)", "x > 2"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3, \infty) \cup (-\infty, 2)"),
    ("6 - 5i", r"-5\mathrm{i}+6"),
    ("1 - 12i", "1-12 i"),
    (r"3\sqrt{13}", r"\sqrt{117}"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("y = 2x + 3", "2x+3"),
    ("k", r"\frac{2k}{2}"),
    ("5", r"5\text{ m}"),
    ("1.5", "1 1/2"),
    ("x^2+1", "1 + x²"),
    ("x=k", "k"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
]
DIFFERENT = [
    ("7", "8"),
    ("7", ""),
    ("A", "B"),
    ("C", "D. C"),
    (r"\frac{11}{2}", "1 1/2"),
    ("12", "1 2"),
    ("e", "e^{st}"),
    ("A", "(A) and (C)"),
    (".0000672", "0.000067"),
    ("3.21", "3.2"),
    (r"\sqrt{2}", "1.414"),
    (r"\frac{1}{3}", "0.333"),
    (r"\sqrt{2} \times 10^{-8}", "0"),
    ("10 am", "10 pm"),
    ("5 m", "5 km"),
    ("6m", "6"),
    ("2ab", "2"),
    ("3", r"3 \pi"),
    (r"\text{east}", r"\text{west}"),
    (r"\text{even}", "odd"),
    ("2516_8", "2516_7"),
    ("2516_8", "2516"),  # less than the reference says
    ("2516_8", "1358"),
    ("-2,1", "1"),
    ("1", "1, 2"),
    ("5", "5 or 6"),
    ("5", "it is not 5"),
    ("(3,4]", "(3,4)"),
    ("(-2,1)", "(1,-2)"),
    (r"1 \pm \sqrt{19}", r"1 + \sqrt{19}"),
    ("p - q", "q - p"),
    ("6 - 5i", "6 + 5i"),
    (r"\dfrac{5}{13}", r"\dfrac{5"),
]


CASES = SHARED.parent / "cases/answers.jsonl"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as one:
        yield one


def test_forms_of_the_same_answer_are_equal_and_others_are_not(grader: Grader) -> None:
    expected = dict.fromkeys([*EQUAL, *equivalence_cases.EQUAL], Verdict.EQUAL)
    expected |= dict.fromkeys([*DIFFERENT, *equivalence_cases.DIFFERENT], Verdict.DIFFERENT)
    given = dict(zip(expected, grader.compare(expected), strict=True))
    assert {pair: verdict for pair, verdict in given.items() if verdict is not expected[pair]} == {}


def test_answers_of_public_reports_are_read_and_compared_as_labelled(grader: Grader) -> None:
    if not CASES.is_file():
        pytest.skip(f"no labelled answers in {CASES} (set ATTS_TEST_DATA)")
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    given = [find_answer(case["text"], True) if "text" in case else case["answer"] for case in cases]
    verdicts = grader.compare((case["gold"], answer or "") for case, answer in zip(cases, given, strict=True))
    labelled = zip(cases, given, verdicts, strict=True)
    wrong = [(case["gold"], answer) for case, answer, v in labelled if (v is Verdict.EQUAL) != case["equal"]]
    assert wrong == []


@pytest.mark.parametrize(
    "dress",
    [
        "**{}**",
        "`{}`",
        "\\mathbf{{{}}}",
        "\\textcolor{{red}}{{{}}}",
        "\\text{{The answer is }}{}",
        "{{\\large {}}}",
        "\\approx {}",
        "{}.",
        "{} \\blacksquare",
        " {} ",
    ],
)
@given(st.integers(-999, 999), st.integers(-999, 999))
def test_dress_changes_no_verdict(dress: str, value: int, other: int) -> None:
    expected = Verdict.EQUAL if value == other else Verdict.DIFFERENT
    assert compare_quickly(str(value), dress.format(other)) is expected
    assert compare_quickly(dress.format(value), str(other)) is expected


@given(st.integers(1, 10**6), st.sampled_from(["km", "m", "cm", "mm"]), st.sampled_from(["km", "m", "cm", "mm"]))
def test_lengths_are_compared_in_any_unit(value: int, one: str, other: str) -> None:
    metres = {"km": Fraction(1000), "m": Fraction(1), "cm": Fraction(1, 100), "mm": Fraction(1, 1000)}
    same = value * metres[one] / metres[other]
    written = f"\\frac{{{same.numerator}}}{{{same.denominator}}}"
    assert compare_quickly(f"{value} \\text{{ {one}}}", f"{written} \\text{{ {other}}}") is Verdict.EQUAL
    assert compare_quickly(f"{value + 1} {one}", f"{written} {other}") is Verdict.DIFFERENT


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.randoms())
def test_lists_are_compared_in_any_order_and_with_their_repetitions(values: list[int], dice: random.Random) -> None:
    shuffled = dice.sample(values, len(values))
    assert compare_quickly(", ".join(map(str, values)), "\\{" + ",".join(map(str, shuffled)) + "\\}") is Verdict.EQUAL
    longer = [*shuffled, shuffled[0]]
    assert compare_quickly(", ".join(map(str, values)), ", ".join(map(str, longer))) is Verdict.DIFFERENT


def test_every_answer_of_a_data_set_equals_itself_in_another_dress_and_none_equals_its_neighbour(
    grader: Grader, hub: Path
) -> None:
    lines = (hub / "HuggingFaceH4/MATH-500/test.jsonl").read_text().splitlines()
    answers = list(dict.fromkeys(json.loads(line)["answer"] for line in lines))
    dressed = [(a, dress(a)) for a in answers for dress in DRESSES]
    assert [p for p, v in zip(dressed, grader.compare(dressed), strict=True) if v is not Verdict.EQUAL] == []
    ordered = sorted(answers, key=lambda a: (len(a), a))  # alike ones beside each other
    beside = [pair for pair in itertools.pairwise(ordered) if pair != ("-2,1", "1,-2")]
    beside = [(a, b) for a, b in beside if notation.compact(notation.plain(a)) != notation.compact(notation.plain(b))]
    same = [p for p, v in zip(beside, grader.compare(beside), strict=True) if v is not Verdict.DIFFERENT]
    assert [pair for pair in same if "frac" not in pair[0]] == []  # \frac34 and \frac{3}{4} are one


DRESSES = (
    lambda a: f"\\(\\boxed{{\\displaystyle {a}}}\\).",
    lambda a: a.replace("\\frac", "\\dfrac").replace("\\text", "\\mathrm").replace("-", "\u2212"),
    lambda a: a.replace("\\left", "").replace("\\right", "").replace("^\\circ", "°"),
)


@given(st.fractions(max_denominator=10**6), st.booleans())
def test_numbers_are_compared_exactly(value: Fraction, nudged: bool) -> None:
    written = f"\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    reference = f"-{written}" if value < 0 else written
    other = value + Fraction(1, 10**9) if nudged else value
    verdict = compare_quickly(reference, f"{other.numerator}/{other.denominator}")
    assert verdict is (Verdict.DIFFERENT if nudged else Verdict.EQUAL)


@given(st.text(max_size=LONGEST + 10), st.text(max_size=30))
def test_notation_reads_any_text_and_a_text_equals_itself(text: str, other: str) -> None:
    quantities.number(read(text))
    assert compare_quickly(text, text) is Verdict.EQUAL
    if len(text) > LONGEST:
        assert compare_quickly(other, text) in (Verdict.UNDECIDED, Verdict.EQUAL)


def test_hostile_answers_end_in_time_and_leave_nothing_behind() -> None:
    """A slice of the benchmark's, and one that algebra does not finish. (No clock: the limit is the worker's.)"""
    before = set(children())
    endless = ("x^2+1", r"\prod_{k=1}^{9999} (k+x)^{99}")
    with Grader() as grader:
        verdicts = Counter(grader.compare(adversarial.pairs(120, seed=3)))
        # the same pair a hundred times is one check, or this would take minutes
        assert set(grader.compare([endless] * 100)) == {Verdict.UNDECIDED}
        assert grader.compare([("7", "x = 7 + 0"), ("2x", "x + x")]) == [Verdict.EQUAL] * 2
    assert verdicts[Verdict.DIFFERENT] > 30
    assert verdicts[Verdict.UNDECIDED] > 20
    assert set(children()) <= before


def test_a_check_out_of_memory_is_undecided_and_the_next_one_is_done(grader: Grader) -> None:
    glutton = ("1", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}^{9999} \cdot 3^{9999^2}")
    assert grader.compare([glutton])[0] is not Verdict.EQUAL
    assert grader.compare([(r"\sqrt{8}", r"2\sqrt{2}")]) == [Verdict.EQUAL]


def test_a_process_that_does_not_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    with Grader() as grader, pytest.raises(UserError, match="did not start"):
        grader.compare([(r"\sqrt{8}", r"2\sqrt{2}")])
