"""Perplexity, and that a failed score is never a number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import ExitStatus, ScoreFailed
from ATTS.method.score import perplexity

logs = st.lists(st.floats(-50, 0), min_size=1, max_size=200)


@given(logs)
def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities(values: list[float]) -> None:
    expected = math.prod(math.exp(value / len(values)) for value in values) ** -1
    assert perplexity(values, len(values)) == pytest.approx(expected, rel=1e-9)
    assert perplexity(values, len(values)) >= 1


@given(logs, st.data())
def test_any_missing_or_impossible_log_probability_fails_the_score(values: list[float], data: st.DataObject) -> None:
    broken: list[float | None] = list(values)
    spot = data.draw(st.integers(0, len(values) - 1))
    broken[spot] = data.draw(st.sampled_from([None, math.nan, math.inf, -math.inf, 0.5]))
    with pytest.raises(ScoreFailed):
        perplexity(broken, len(values))


@pytest.mark.parametrize("expected", [0, 2, 4])
def test_a_wrong_number_of_log_probabilities_fails_the_score(expected: int) -> None:
    with pytest.raises(ScoreFailed) as caught:
        perplexity([-0.1] * 3, expected)
    assert caught.value.status is ExitStatus.SCORE_FAILED


def test_an_overflowing_perplexity_fails_the_score() -> None:
    with pytest.raises(ScoreFailed, match="overflows"):
        perplexity([-1e6], 1)
