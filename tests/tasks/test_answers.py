"""Finding answers in chains."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.tasks.answering import reader
from ATTS.tasks.answers import after_think, find_answer, find_answer_not_balanced, find_boxed, find_boxes


def test_texts_made_of_brackets_and_boxes_are_read_in_bounded_memory() -> None:
    """What a reader keeps grows with the text, not with its square."""
    for text in (r"\boxed{" * 20_000, r"\boxed{" * 20_000 + "}" * 20_000, r"\boxed{1}" + "\\" * 40_000, "{" * 100_000):
        tracemalloc.start()
        find_answer(text, True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * len(text)


balanced = st.recursive(
    st.text(st.characters(exclude_characters="{}\\"), max_size=5), lambda inner: inner.map(lambda t: f"{{{t}}}x")
)
plain_words = st.text(st.characters(exclude_characters="\\"), max_size=20)


@given(plain_words, balanced, st.text(max_size=0))
def test_a_box_gives_its_whole_balanced_content(before: str, content: str, after: str) -> None:
    content = f"7{content}"
    assert find_boxed(f"{before}\\boxed{{{content}}}{after}") == content.strip()


@pytest.mark.parametrize(
    ("text", "ended", "answer"),
    [
        (r"\boxed{\frac{1}{2}} so", False, r"\frac{1}{2}"),
        (r"first \boxed{1}, then \boxed{2}.", False, "2"),
        (r"\boxed{1} and \boxed{2", True, "1"),  # the second was cut off for good
        (r"\boxed{12^{\text{th", True, None),
        (r"\boxed{}", True, None),
        (r"\boxed{ }", True, None),
        (r"put it in \boxed{}. So \boxed{3}, in \boxed{\text{answer}} form: \boxed{...}", True, "3"),
        (r"\boxed {C}", False, "C"),
        (r"\fbox{8} ", False, "8"),
        (r"\boxed{\{1, 2\}}", False, r"\{1, 2\}"),
        ("\\boxed\n\n{66}\\)", False, "66"),  # two chunks, joined as the published driver joins them
        (r"\\boxed{4}", False, "4"),
        ("ANSWER: 12\n", False, "12"),
        ("ANSWER: 1", False, None),  # may still become 12
        ("ANSWER: 12", True, "12"),
        ("ANSWER: 1\nANSWER: 2\n", False, "2"),
        ("ANSWER: 5\nso \\boxed{6}", False, "6"),
        ("no answer here", True, None),
        # without braces: a number or a letter, and only when it is over
        (r"so \boxed 5", True, "5"),
        (r"so \boxed 5", False, None),
        (r"so \boxed 5.", False, None),
        (r"so \boxed 5. That", False, "5"),
        (r"so \boxed 3.25 holds", False, "3.25"),
        (r"choice \boxed C\)", False, "C"),
        (r"in \boxed format", True, None),
        (r"so \boxed \frac{1}{2}, then", False, r"\frac{1}{2}"),
        (r"so \boxed\sqrt2 then", False, r"\sqrt2"),
        # lines that name the answer
        ("**Answer:** 4.", True, "4"),
        ("**Answer: D**\n", False, "D"),
        ("Final answer: 12\n", False, "12"),
        ("\u7b54\u6848\uff1a5\n", False, "5"),
        (r"the mean is \boxed{x} hence" + "\n\n**Answer: D**", True, "D"),
        ("Answer: D\nso \\boxed{C}", True, "C"),
        ("\\boxed{7}\n**Answer:** \\(\\boxed{\\dfrac{5", True, "7"),  # a cut box
        ("Answer: <answer>\n", True, None),
        # placeholders
        (r"\boxed{<answer>} \boxed{?} \boxed{\_\_\_} \boxed{\text{your answer}} \boxed{ANSWER}", True, None),
        # boxes in boxes
        (r"\boxed{\boxed{5}}", False, "5"),
        (r"\boxed{x = \boxed{0}}", False, "x = 0"),
        (r"\boxed{\boxed{1}, \boxed{2}}", False, "1, 2"),
        (r"\boxed{5 was cut. Again. " + "Long. " * 30 + r"\boxed{6} }", False, "6"),
        # several boxes of one sentence
        (r"x = \boxed{1} and \boxed{3}.", False, "1, 3"),
        (r"\(\boxed{1}\) and \(\boxed{-2}\).", False, "1, -2"),
        (r"x=\boxed{1} \text{ or } x=\boxed{3}", False, "1, 3"),
        (r"$x_1 = \boxed{1}$, $x_2 = \boxed{2}$ and $x_3 = \boxed{3}$", False, "1, 2, 3"),
        (r"**\boxed{A}**, **\boxed{C}**", False, "A, C"),
        ("\\[\n\\boxed{1}, \\boxed{-2}\n\\]", False, "1, -2"),
        (r"\boxed{1} was wrong, so \boxed{2}", False, "2"),
        ("\\boxed{1}, and\n\n\\boxed{2}", False, "2"),  # another paragraph
        (r"\boxed{36} - **In boxed form:** \boxed{36}", False, "36"),
        ("x=\\boxed{1}\u6216x=\\boxed{3}", True, "1, 3"),
        ("\\boxed{1}\u3001\\boxed{3}", True, "1, 3"),
        # a list that goes on is no answer yet
        (r"x = \boxed{1} and", False, None),
        (r"x = \boxed{1} and", True, "1"),
        (r"x = \boxed{1} and \boxed{", False, None),
        (r"x = \boxed{1} and hence", False, "1"),
    ],
)
def test_find_answer(text: str, ended: bool, answer: str | None) -> None:
    assert find_answer(text, ended) == answer


@pytest.mark.parametrize(
    ("text", "ended", "answer"),
    [
        (r"<think>\boxed{1}", False, None),
        (r"\boxed{1}, let me check", False, None),  # the prompt opened the thinking
        (r"\boxed{1} </think> The answer is", False, None),
        (r"\boxed{1} </think> It is \boxed{2}", False, "2"),
        (r"<think>\boxed{1}", True, None),
        (r"It is \boxed{2}", True, "2"),  # a model that doesn't think
    ],
)
def test_behind_the_end_of_thinking(text: str, ended: bool, answer: str | None) -> None:
    assert after_think(find_answer)(text, ended) == answer


def test_the_flags_choose_the_reader() -> None:
    assert reader("regex", False) is find_answer
    assert reader("llm", False) is find_answer
    assert reader("published", False) is find_answer_not_balanced
    assert reader("published", True)(r"\boxed{\frac{1}{2}}</think>", True) is None


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_searched_without_an_error(text: str, ended: bool) -> None:
    found = find_answer(text + "\\boxed{" + text, ended)
    assert found is None or found.strip()


@given(st.lists(st.sampled_from([r"\boxed{", r"\fbox {", "{", "}", "\\", "5", " and ", ", ", "\n\n"]), max_size=40))
def test_growing_text_never_takes_back_a_box_that_was_complete(pieces: list[str]) -> None:
    """Boxes only come behind; the answer may change, the boxes before it may not vanish (but into outer ones)."""
    text = "".join(pieces)
    for cut in range(len(text)):
        for box in find_boxes(text[:cut], ended=False):
            assert any(b.start <= box.start and box.end <= b.end for b in find_boxes(text, ended=False))


def test_a_text_of_unclosed_boxes_is_read_in_one_pass() -> None:
    assert find_answer("\\boxed{" * 200_000 + "1", True) is None
    assert find_answer(r"\boxed{\boxed{1}}" * 100_000, True) == "1"
    assert find_answer("\\boxed{" * 1000 + "1" + "}" * 1000, True) == "1"
    assert find_answer_not_balanced("\\boxed{" * 200_000) is None


@pytest.mark.parametrize("atom", ["1", "1.", "1 ", r"\frac", r"\frac{", r"\frac12", r"\sqrt[", r"\text{", r"\pi "])
def test_a_bare_box_that_comes_to_nothing_is_read_in_one_pass(atom: str) -> None:
    """What could be cut into atoms in many ways isn't tried in all of them: that would never end."""
    for end in ("{", "x", ""):
        find_answer(r"\boxed " + atom * 100_000 + end, True)


pieces = st.sampled_from(["\\boxed{", "}", "{", "\n", "\r", "\u2028", "a", "\\"])


@given(st.lists(pieces, max_size=30).map("".join))
def test_the_published_box_is_what_the_published_pattern_finds_last(text: str) -> None:
    found = re.findall(r"\\boxed\{(.*?)\}", text)
    assert find_answer_not_balanced(text) == (found[-1] if found else None)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("final answer: x=5", "x"),
        ("ANSWER: B", "B"),
        ("Answer:\n\nc", "c"),
        ("ANSWER: A, no, answer: D", "D"),
        ("ANSWER:B", None),
        ("ANSWER: 12", None),
        ("\\boxed{7} ANSWER: B", "7"),
    ],
)
def test_the_published_answer_is_a_letter_behind_a_mark_in_any_case(text: str, answer: str | None) -> None:
    assert find_answer_not_balanced(text) == answer
