"""The decision rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.method.conformal import CalibrationSet, Coin, Online, PerTurn, RejectionRule, smallest_calibration_set
from ATTS.method.conformal.decision import Draws

scores = st.lists(st.floats(1, 50), min_size=20, max_size=200)
rates = st.sampled_from([0.05, 0.1, 0.3, 0.4, 0.5, 0.7, 0.9, 0.95])


@given(scores, rates, st.floats(0.5, 60))
def test_percentile_and_decision_follow_the_published_rule(array: list[float], rate: float, score: float) -> None:
    verdict = CalibrationSet(array, rate)(score)
    assert verdict.percentile == sum(value < score for value in array) / len(array)
    if abs(verdict.percentile - (1 - rate)) > 1e-12:
        assert verdict.rejected == (verdict.percentile >= 1 - rate)


@given(scores, rates)
def test_a_percentile_that_equals_the_threshold_is_rejected(array: list[float], rate: float) -> None:
    """Also where 1 - rate has no exact binary form: 10 distinct scores, 3 below, rate 0.7."""
    assert CalibrationSet(range(1, 11), 0.7)(3.5).rejected
    assert not CalibrationSet(range(1, 11), 0.7)(2.5).rejected
    judge = CalibrationSet(array, rate)
    assert judge(max(array) + 1).rejected
    assert not judge(min(array)).rejected


@given(scores, rates, st.floats(1, 50), st.floats(1, 50))
def test_a_worse_score_is_never_accepted_where_a_better_one_is_rejected(
    array: list[float], rate: float, a: float, b: float
) -> None:
    judge = CalibrationSet(array, rate)
    assert judge(min(a, b)).rejected <= judge(max(a, b)).rejected


@given(st.integers(2, 400), rates)
def test_exchangeable_scores_are_rejected_at_the_asked_rate(n: int, rate: float) -> None:
    """Of n distinct calibration scores each serves once as the new one: the share rejected is the rate up to 1/n."""
    if n < smallest_calibration_set(rate) + 1:
        return
    values = np.random.default_rng(n).permutation(np.arange(n, dtype=float))
    rejected = sum(CalibrationSet(np.delete(values, i), rate)(float(values[i])).rejected for i in range(n))
    assert abs(rejected / n - rate) <= 1 / (n - 1) + 1e-9


@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan])
def test_a_rate_outside_0_1_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        CalibrationSet([1.0, 2.0, 3.0], rate)


def test_too_few_scores_for_the_rate_are_refused_with_the_number_needed() -> None:
    with pytest.raises(ValueError, match="at least 9"):
        CalibrationSet([1.0] * 8, 0.1)
    CalibrationSet([1.0] * 9, 0.1)


def every_judge(array: list[float], rate: float, seed: int) -> list[RejectionRule]:
    made: list[RejectionRule] = [
        Coin(rate, str(seed)),
        Online(rate, seed),
        Online(rate, seed, 3),
        Online(rate, seed, 0, 0.3),
        Online(rate, seed, 0, 0.3, by_turn=True),
    ]
    warm = Online(rate, seed, gamma=0.1)
    warm.start(array)
    made.append(warm)
    for form in ("published", "bounded", "smoothed"):
        draws = Draws(seed)
        made += [CalibrationSet(array, rate, form, draws), PerTurn({0: array, 1: array[:3]}, rate, form, draws)]
    return made


@given(scores, st.lists(st.tuples(st.floats(0.5, 60), st.integers(0, 3)), min_size=1), st.integers(0, 99))
def test_at_a_rate_of_0_nothing_is_rejected_and_at_1_everything_whatever_decides(
    array: list[float], chunks: list[tuple[float, int]], seed: int
) -> None:
    """Also above every calibration score, on ties, and below every one."""
    chunks += [(score, 0) for score in (min(array), max(array), max(array) + 1, min(array) - 1)]
    for rate in (0.0, 1.0):
        for judge in every_judge(array, rate, seed):
            assert {judge(score, turn).rejected for score, turn in chunks} == {bool(rate)}
    for rate in (0, 1):
        assert smallest_calibration_set(rate) == 1


@given(st.permutations([(sample, turn) for sample in range(4) for turn in range(5)]), st.integers(0, 9), st.data())
def test_a_coin_follows_from_seed_sample_and_turn_whatever_was_decided_before(
    order: list[tuple[int, int]], seed: int, data: st.DataObject
) -> None:
    def decide(chunks: list[tuple[int, int]]) -> dict[tuple[int, int], bool]:
        coins = {sample: Coin(0.5, f"{seed}-{sample}") for sample in range(4)}
        return {(sample, turn): coins[sample](1.0, turn).rejected for sample, turn in chunks}

    whole = decide(sorted(order))
    assert decide(order) == whole
    some = order[: data.draw(st.integers(0, len(order)))]
    assert decide(some).items() <= whole.items()


def test_coins_keep_their_rate_over_samples_and_turns_and_are_not_the_same() -> None:
    thrown = np.array([[Coin(0.4, f"0-{s}")(1.0, turn).rejected for turn in range(10)] for s in range(1000)])
    assert abs(thrown.mean() - 0.4) < 0.02  # four standard deviations
    assert np.abs(thrown.mean(axis=0) - 0.4).max() < 0.07
    assert len({tuple(row) for row in thrown}) > 500
    assert abs(np.corrcoef(thrown[:, 0], thrown[:, 1])[0, 1]) < 0.15
