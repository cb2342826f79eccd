"""Finding answers and comparing them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.tasks.answers import find_answer, find_boxed
from ATTS.tasks.equivalence import Grader, Verdict

balanced = st.recursive(
    st.text(st.characters(exclude_characters="{}\\"), max_size=5), lambda inner: inner.map(lambda t: f"{{{t}}}x")
)


@given(st.text(st.characters(exclude_characters="\\"), max_size=20), balanced, st.text(max_size=0))
def test_a_box_gives_its_whole_balanced_content(before: str, content: str, after: str) -> None:
    expected = content.strip() or None
    assert find_boxed(f"{before}\\boxed{{{content}}}{after}") == expected


@pytest.mark.parametrize(
    ("text", "ended", "answer"),
    [
        (r"\boxed{\frac{1}{2}} so", False, r"\frac{1}{2}"),
        (r"first \boxed{1}, then \boxed{2}.", False, "2"),
        (r"\boxed{1} and \boxed{2", True, "1"),  # the second was cut off
        (r"\boxed{12^{\text{th", True, None),
        (r"\boxed{}", True, None),
        (r"\boxed{ }", True, None),
        (r"\boxed {C}", False, "C"),
        (r"\boxed{\{1, 2\}}", False, r"\{1, 2\}"),
        ("ANSWER: 12\n", False, "12"),
        ("ANSWER: 1", False, None),  # may still become 12
        ("ANSWER: 12", True, "12"),
        ("ANSWER: 1\nANSWER: 2\n", False, "2"),
        ("ANSWER: 5\nso \\boxed{6}", False, "6"),
        ("no answer here", True, None),
    ],
)
def test_find_answer(text: str, ended: bool, answer: str | None) -> None:
    assert find_answer(text, ended) == answer


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_searched_without_an_error(text: str, ended: bool) -> None:
    found = find_answer(text + "\\boxed{" + text, ended)
    assert found is None or found.strip()


def test_equivalence_of_forms_and_nothing_hangs() -> None:
    """Includes a power tower that no algebra system finishes: undecided within the time limit."""
    pairs = {
        ("7", "007"): Verdict.EQUAL,
        ("7", "8"): Verdict.DIFFERENT,
        ("B", "(B)"): Verdict.EQUAL,
        ("A", "B"): Verdict.DIFFERENT,
        (r"\frac{1}{2}", "0.5"): Verdict.EQUAL,
        (r"\frac{14}{3}", r"\dfrac{14}{3}"): Verdict.EQUAL,
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"): Verdict.EQUAL,
        (r"\sqrt{2}", "1"): Verdict.DIFFERENT,
    }
    hard = ("5", "9^{9^{9^{9^{9}}}}")
    with Grader() as grader:
        verdicts = grader.compare([*pairs, hard, *pairs])
    assert verdicts[: len(pairs)] == list(pairs.values())
    assert verdicts[len(pairs)] is not Verdict.EQUAL
    assert verdicts[len(pairs) + 1 :] == list(pairs.values())
