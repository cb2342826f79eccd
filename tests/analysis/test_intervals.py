"""What is foretold of rates, and intervals over questions, hold."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from ATTS.analysis import expected_rates, intervals
from ATTS.method.conformal import CalibrationSet, forms
from ATTS.method.conformal.decision import Draws

scores = st.lists(st.integers(0, 30).map(float), min_size=3, max_size=60)
rates = st.sampled_from([0.3, 0.4, 0.5, 0.7, 0.9])
draws = st.floats(0.001, 1)


def clustered_scores(rng: np.random.Generator, questions: int, repeats: int = 16) -> np.ndarray:
    """Normal scores of an intraclass correlation of 0.6."""
    common = math.sqrt(0.6) * rng.standard_normal((questions, 1))
    return np.asarray(common + math.sqrt(0.4) * rng.standard_normal((questions, repeats))).ravel()


def rate_of(new: np.ndarray, calibration: np.ndarray, form: forms.Form, rng: np.random.Generator) -> float:
    """The share that the decision rule itself rejects at a rate of 0.4."""
    judge = CalibrationSet(calibration, 0.4, form, Draws(int(rng.integers(10**6))) if form == "smoothed" else None)
    return float(np.mean([judge(score).rejected for score in new.tolist()]))


@pytest.mark.parametrize("form", ["published", "bounded", "smoothed"])
def test_what_is_foretold_of_calibrated_questions_and_of_others_comes(form: forms.Form) -> None:
    """15 questions by 16, 100 runs: those that were calibrated on vary about a third as much as others."""
    rng = np.random.default_rng(6)
    questions = np.repeat(np.arange(15), 16)
    inside = foreign = crossed = 0
    for _ in range(100):
        both = clustered_scores(rng, 15, 32).reshape(15, 2, 16)
        calibration, again = both[:, 0].ravel(), both[:, 1].ravel()
        same = expected_rates.same(calibration, questions, 0.4, form, 16).interval(240)
        other = expected_rates.others(calibration, questions, 0.4, form, 15, 16).interval(240)
        assert same[1] - same[0] < 0.6 * (other[1] - other[0])
        assert same[1] - same[0] < 0.2
        inside += same[0] <= rate_of(again, calibration, form, rng) <= same[1]
        strange = rate_of(clustered_scores(rng, 15), calibration, form, rng)
        foreign += other[0] <= strange <= other[1]
        crossed += same[0] <= strange <= same[1]
    assert min(inside, foreign) >= 90
    assert crossed < 75  # the narrow interval is not one of other questions


def test_the_expected_rate_is_that_of_the_p_value() -> None:
    """Of 9 distinct scores at 0.25: published 3/10, bounded 2/10, smoothed the rate itself."""
    for form, expected in (("published", 0.3), ("bounded", 0.2), ("smoothed", 0.25)):
        found = expected_rates.threshold(np.arange(1.0, 10.0), 0.25, form)  # type: ignore[arg-type]
        assert found.expected == pytest.approx(expected)


def test_intervals_over_questions_cover_and_pooled_ones_do_not() -> None:
    """200 runs of 60 questions by 16; a tenth of the evidence in docs/GUARANTEES.md."""
    rng = np.random.default_rng(5)
    questions = np.repeat(np.arange(60), 16)
    truth = 1 - stats.norm.cdf(0.25)
    covered = pooled = 0
    for _ in range(200):
        rejected = clustered_scores(rng, 60) > 0.25
        found = intervals.interval(rejected, questions)
        covered += found.low <= truth <= found.high
        low, high = intervals.clopper_pearson(float(rejected.mean()), len(rejected))
        pooled += low <= truth <= high
        assert found.low < found.rate < found.high
    assert covered / 200 > 0.92
    assert pooled / 200 < 0.75


def test_intervals_cover_low_rates_of_few_questions() -> None:
    rng = np.random.default_rng(7)
    questions = np.repeat(np.arange(15), 16)
    covered = 0
    for _ in range(200):
        rejected = rng.random((15, 16)) < rng.beta(0.02 * 1.5, 0.98 * 1.5, size=(15, 1))
        found = intervals.interval(rejected.ravel(), questions)
        covered += found.low <= 0.02 <= found.high
    assert covered / 200 >= 0.93


def test_the_interval_of_a_ratio_covers() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(300):
        size = rng.lognormal(size=30)
        bounds = intervals.ratio(2 * size * rng.lognormal(-0.08, 0.4, 30), size * rng.lognormal(-0.08, 0.4, 30))
        assert bounds is not None
        covered += bounds[0] <= 2 <= bounds[1]
    assert covered / 300 >= 0.9
