"""Laws of the parts: texts that grow, efforts."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ATTS.api.settings import Effort, effort
from ATTS.api.text import Visible

TEXTS = st.lists(st.text("ab\n", max_size=5), max_size=6)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(parts=TEXTS, stop=STOPS)
@example(parts=["a", "b"], stop=["ab"])
@example(parts=["aa", "a"], stop=["aaa", "ab"])
def test_what_is_sent_is_the_text_before_the_first_stop_string_and_nothing_is_taken_back(
    parts: Sequence[str], stop: Sequence[str]
) -> None:
    sent: list[str] = []
    visible, text = Visible(stop, sent.append), ""
    for part in parts:
        text += part
        visible.grow(text)
        assert text.startswith("".join(sent))
    visible.grow(text, whole=True)
    ends = [text.find(one) for one in stop if one in text]
    assert "".join(sent) == visible.text == (text[: min(ends)] if ends else text)
    assert "" not in sent


@given(parts=TEXTS)
def test_without_stop_strings_every_part_is_sent_at_once(parts: Sequence[str]) -> None:
    sent: list[str] = []
    visible, text = Visible((), sent.append), ""
    for part in parts:
        text += part
        visible.grow(text)
        assert "".join(sent) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("low:", Effort()),
        ("high:rate=0.6,turns=20,samples=4", Effort(0.6, 20, 4)),
        ("x:samples=2,rate=1", Effort(rate=1.0, samples=2)),
    ],
)
def test_an_effort_is_read(text: str, expected: Effort) -> None:
    assert effort(text) == (text.partition(":")[0], expected)


@pytest.mark.parametrize(
    "text", ["low", ":turns=2", "low:turn=2", "low:turns=2.5", "low:turns=", "low:samples=0", "a:rate=."]
)
def test_an_effort_that_says_nothing_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--efforts"):
        effort(text)
