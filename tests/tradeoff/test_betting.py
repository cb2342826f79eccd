"""P-values by betting and rules for several settings."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ATTS.tradeoff.betting import p_value, p_values, passed, questions_needed, upper_bound

losses = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)
limits = st.floats(-0.9, 0.9)
levels = st.sampled_from([0.05, 0.1, 0.3])


@given(losses, limits, limits, levels)
def test_a_larger_limit_is_easier_to_certify(x: list[float], one: float, two: float, level: float) -> None:
    low, high = sorted((one, two))
    assert p_value(x, high, level) <= p_value(x, low, level) + 1e-12


@example([-1.0, -1.0, -1.0, -1.0, 0.25, 1.0], 0.3)
@given(losses, levels)
def test_the_bound_is_the_smallest_limit_that_is_certified(x: list[float], level: float) -> None:
    bound = upper_bound(x, level)
    assert p_value(x, bound, level) <= level
    assert bound <= -1 + 1e-9 or p_value(x, bound - 1e-6, level) > level
    assert bound >= min(x) - 1e-9  # it may lie below the mean, for a p-value counts the best of all its moments


@given(losses, limits, levels)
def test_a_greater_loss_at_the_last_question_never_helps(x: list[float], limit: float, level: float) -> None:
    worse = [*x[:-1], 1.0]
    assert p_value(worse, limit, level) >= p_value(x, limit, level) - 1e-12


@given(st.integers(1, 3), st.floats(-0.5, 0.6), levels)
def test_the_error_is_at_most_the_level_for_every_distribution_on_three_losses(
    n: int, limit: float, level: float
) -> None:
    """Exact, over all sequences, at an expected loss of exactly the limit: worst of several distributions."""
    for high in (1.0, (limit + 1) / 2):
        for low in (-1.0, limit - 0.3):
            p = (limit - low) / (high - low)  # of the high one
            wrong = 0.0
            for drawn in itertools.product((0, 1), repeat=n):
                x = [high if one else low for one in drawn]
                if p_value(x, limit, level) <= level:
                    wrong += float(np.prod([p if one else 1 - p for one in drawn]))
            assert wrong <= level + 1e-9


def test_without_any_loss_the_number_of_questions_is_nearly_the_least_possible() -> None:
    """A loss of 1 in one of fifty questions goes unseen in 114 of them one time in ten: no rule can do with fewer."""
    least = next(n for n in itertools.count(1) if p_value(np.zeros(n), 0.02, 0.1) <= 0.1)
    assert 114 <= least <= 135
    assert questions_needed(np.zeros(10), 0.02, 0.1) in range(least, round(1.05 * least))


def test_the_number_of_questions_is_none_where_the_loss_seen_is_too_high() -> None:
    assert questions_needed([0.5, 0.0], 0.02, 0.1) is None
    assert questions_needed([], 0.02, 0.1) is None


@pytest.mark.parametrize("bad", [[1.5], [float("nan")], [-1.01, 0]])
def test_losses_outside_their_range_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        p_value(bad, 0.1, 0.1)


def test_many_settings_at_once_are_the_same_as_one_by_one() -> None:
    x = np.random.default_rng(0).choice([-0.5, 0, 0, 0.5], size=(5, 40))
    assert p_values(x, 0.1, 0.05) == pytest.approx([p_value(row, 0.1, 0.05) for row in x])


chains = st.lists(st.lists(st.floats(0, 0.3), min_size=1, max_size=4), min_size=1, max_size=4)


@given(chains, levels)
def test_a_chain_stops_at_its_first_failure_and_chains_of_one_are_holms_procedure(
    found: list[list[float]], level: float
) -> None:
    for count, chain in zip(passed(found, level), found, strict=True):
        assert all(p <= level for p in chain[:count])
    alone = [chain[0] for chain in found]
    holm, order = 0, sorted(alone)
    while holm < len(order) and order[holm] <= level / (len(order) - holm) * (1 + 1e-12):
        holm += 1
    assert sum(passed([[p] for p in alone], level)) == holm


@given(chains, levels, st.integers(0, 3), st.integers(0, 3))
def test_a_smaller_p_value_never_passes_fewer(found: list[list[float]], level: float, i: int, j: int) -> None:
    before = passed(found, level)
    chain = found[i % len(found)]
    chain[j % len(chain)] = 0.0
    assert all(new >= old for new, old in zip(passed(found, level), before, strict=True))


def test_one_chain_tests_each_at_the_whole_level() -> None:
    assert passed([[0.09, 0.1, 0.5, 0.0]], 0.1) == [2]
    assert passed([[0.04], [0.09]], 0.1) == [1, 1]  # what the first leaves behind goes to the second
    assert passed([[0.06], [0.09]], 0.1) == [0, 0]
    assert passed([], 0.1) == []
