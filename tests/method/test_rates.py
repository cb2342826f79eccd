"""Rates that hold: p-values, sets by turn, memory banks, the level that follows, intervals over questions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ATTS.analysis import expected_rates, intervals
from ATTS.method.conformal import CalibrationSet, Online, PerTurn, forms
from ATTS.method.conformal.decision import Draws
from ATTS.method.conformal.online import gamma_for

scores = st.lists(st.integers(0, 30).map(float), min_size=3, max_size=60)
rates = st.sampled_from([0.3, 0.4, 0.5, 0.7, 0.9])
draws = st.floats(0.001, 1)


@given(st.lists(st.integers(0, 30).map(float), max_size=60), st.integers(0, 30).map(float), draws)
def test_p_values_are_those_of_the_crepes_library(array: list[float], score: float, draw: float) -> None:
    """Its formulas, written out: (#{a_i >= a} + 1) / (n + 1), smoothed (#{a_i > a} + u (#{a_i = a} + 1)) / (n + 1)."""
    below, n = sum(a < score for a in array), len(array)
    equal = array.count(score)
    assert forms.p_value(below, n) == (sum(a >= score for a in array) + 1) / (n + 1)
    assert forms.smoothed_p_value(below, equal, n, draw) == pytest.approx(
        (sum(a > score for a in array) + draw * (equal + 1)) / (n + 1), abs=1e-12
    )
    assert 0 < forms.smoothed_p_value(below, equal, n, draw) <= forms.p_value(below, n) <= 1


@given(scores, rates, st.integers(0, 31).map(float))
def test_a_threshold_in_ranks_decides_like_the_formula_it_comes_from(
    array: list[float], rate: float, score: float
) -> None:
    bounded = CalibrationSet(array, rate, "bounded")(score)
    assert bounded.p_value is not None
    if abs(bounded.p_value - rate) > 1e-12:
        assert bounded.rejected == (bounded.p_value <= rate)
    smoothed = CalibrationSet(array, rate, "smoothed", Draws(1))(score)
    assert smoothed.p_value is not None
    assert smoothed.rejected == (smoothed.p_value <= rate)
    assert bounded.percentile == smoothed.percentile == sum(a < score for a in array) / len(array)


@given(st.integers(3, 200), st.integers(1, 15), st.integers(16, 40))
def test_of_n_exchangeable_scores_the_share_rejected_is_the_expected_one_exactly(n: int, budget: int, m: int) -> None:
    """Each of n + 1 distinct scores serves once as the new one. Bounded never exceeds B / m; published is within
    a rank of it; smoothed, averaged over its draw, is it."""
    rate = forms.rate_of_budget(budget, m)
    if n < forms.smallest_calibration_set(rate):
        return
    values = list(range(n + 1))
    for form in ("published", "bounded"):
        k = forms.threshold(n, rate, form)
        rejected = sum(sum(v < new for v in values) >= k for new in values)
        assert rejected / (n + 1) == forms.expected_rate(n, k)
    assert forms.expected_rate(n, forms.threshold(n, rate, "bounded")) <= rate + 1e-9
    assert abs(forms.expected_rate(n, forms.threshold(n, rate, "published")) - rate) <= 1 / (n + 1) + 1e-9
    average = sum(min(1.0, max(0.0, rate * (n + 1) - above)) for above in range(n + 1)) / (n + 1)
    assert average == pytest.approx(rate)


def test_the_realised_share_is_beta_binomial() -> None:
    """20,000 runs of 16 calibration scores and 16 chunks: counts fit the distribution, mean 7/17."""
    rng = np.random.default_rng(0)
    n = m = 16
    k = forms.threshold(n, 0.4, "published")
    threshold = np.sort(rng.random((20_000, n)), axis=1)[:, k - 1]
    counts = np.bincount((rng.random((20_000, m)) > threshold[:, None]).sum(axis=1), minlength=m + 1)
    expected = 20_000 * stats.betabinom.pmf(np.arange(m + 1), m, n + 1 - k, k)
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3
    assert forms.expected_rate(n, k) == 7 / 17
    low, high = forms.realised_interval(n, k, m)
    inside = counts[round(low * m) : round(high * m) + 1].sum() / 20_000
    exact = stats.betabinom.cdf(round(high * m), m, 7, 10) - stats.betabinom.cdf(round(low * m) - 1, m, 7, 10)
    assert exact >= 0.95
    assert inside == pytest.approx(exact, abs=0.01)
    assert forms.realised_interval(10_000, 6_000, 0) == pytest.approx((0.39, 0.41), abs=0.001)


@given(st.lists(st.lists(st.floats(1, 9), max_size=60), min_size=1, max_size=8), st.integers(0, 12), st.floats(1, 9))
def test_a_turn_is_judged_by_its_own_scores_or_by_all_late_ones(
    by_turn: list[list[float]], turn: int, score: float
) -> None:
    if len(by_turn[0]) < PerTurn.FEWEST:
        with pytest.raises(ValueError, match="at least 20 questions"):
            PerTurn(dict(enumerate(by_turn)), 0.4)
        return
    judge = PerTurn(dict(enumerate(by_turn)), 0.4)
    assert all(len(judge.of(t)) >= PerTurn.FEWEST for t in range(judge.own))
    if turn < judge.own:
        assert judge(score, turn) == CalibrationSet(by_turn[turn], 0.4)(score)
    else:
        assert judge.of(turn) is judge.of(99)
        assert len(judge.of(turn)) >= min(PerTurn.FEWEST, sum(map(len, by_turn)))


def test_a_turn_counts_by_its_questions_and_not_by_its_scores() -> None:
    """40 scores of 2 questions are worth 2; 20 questions of 2 scores are 20."""
    scores = {0: np.arange(1.0, 41.0), 1: np.arange(1.0, 41.0)}
    two, twenty = np.arange(40) % 2, np.arange(40) % 20
    with pytest.raises(ValueError, match=r"worth 2 independent questions, at least 20 questions are needed"):
        PerTurn(scores, 0.4, questions={0: two, 1: two})
    assert PerTurn(scores, 0.4, questions={0: twenty, 1: twenty}).own == 2
    judge = PerTurn(scores, 0.4, questions={0: twenty, 1: two})
    assert (judge.own, len(judge.of(0))) == (0, 80)  # the second turn is too small alone


def test_without_scores_nothing_can_be_calibrated() -> None:
    with pytest.raises(ValueError, match="0 calibration scores are too few"):
        PerTurn({}, 0.4)
    with pytest.raises(ValueError, match="need draws"):
        CalibrationSet([1.0] * 5, 0.4, "smoothed")
    with pytest.raises(ValueError, match="between 0 and 1"):
        Online(-0.1)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=300), st.sampled_from([0, 1, 7, 100]))
def test_a_bank_ranks_a_score_among_the_newest_ones(values: list[int], window: int) -> None:
    """Against the p-value counted by hand, ties included."""
    online, draws = Online(0.4, window=window), Draws(0)
    for number, value in enumerate(values):
        bank = values[max(0, number - window) if window else 0 : number]
        above, equal = sum(other > value for other in bank), bank.count(value)
        decision = online(float(value), 3)
        assert decision.p_value == (above + draws.next() * (1 + equal)) / (len(bank) + 1)
        assert decision.scores == len(bank)
        assert decision.percentile == ((len(bank) - above - equal) / len(bank) if bank else None)


@given(st.integers(0, 10**6))
def test_draws_fill_the_unit_interval_evenly(seed: int) -> None:
    """Of 200 draws in a row each tenth gets 20 give or take 3, and none is 0."""
    source = Draws(seed)
    values = [source.next() for _ in range(200)]
    assert min(values) > 0
    assert max(values) <= 1
    assert abs(np.histogram(values, 10, (0, 1))[0] - 20).max() <= 3
    assert source.decisions == 200


def test_a_bank_from_cold_keeps_the_rate_of_exchangeable_scores_from_the_first_decision_on() -> None:
    """Decision by decision over 4,000 banks: each is rejected at the rate, the first ones included."""
    rng = np.random.default_rng(3)
    rejected = np.zeros(12)
    for seed in range(4000):
        bank = Online(0.4, seed)
        rejected += [bank(score, 0).rejected for score in rng.lognormal(size=12).round(1).tolist()]
    assert abs(rejected / 4000 - 0.4).max() < 4 * math.sqrt(0.24 / 4000)


def test_a_bank_says_what_it_rests_on_and_forgets_what_leaves_its_window() -> None:
    bank = Online(0.4, window=3)
    told = [bank(float(value), 2) for value in (5, 1, 2, 9, 9)]
    assert [verdict.scores for verdict in told] == [0, 1, 2, 3, 3]
    assert told[0].percentile is None
    assert told[3].percentile == 1.0
    assert told[4].percentile == pytest.approx(2 / 3)  # 1, 2 and 9: the first 5 is forgotten, 9 is not below 9
    assert bank.sizes == {2: 3}
    assert [verdict.order for verdict in told] == [0, 1, 2, 3, 4]


@given(
    st.integers(0, 1000),
    st.sampled_from([0.1, 0.4, 0.8]),
    st.sampled_from([0.01, 1 / 19, 0.5]),
    st.integers(20, 200),
)
def test_a_level_that_follows_holds_the_rate_over_every_window_whatever_the_scores(
    seed: int, rate: float, gamma: float, window: int
) -> None:
    """Trends, jumps and constants: over W decisions the miss is at most (1 + gamma) / (gamma W)."""
    rng = np.random.default_rng(seed)
    drift = np.concatenate([np.linspace(1, 9, 150), np.full(100, 9.0), rng.lognormal(size=100) + 1, np.full(50, 1.0)])
    judge = Online(rate, seed, gamma=gamma)
    rejected = np.array([judge(score, 0).rejected for score in drift.tolist()])
    sums = np.concatenate([[0], np.cumsum(rejected)])
    rates = (sums[window:] - sums[:-window]) / window
    assert abs(rates - rate).max() <= (1 + gamma) / (gamma * window) + 1e-9
    assert -gamma < judge.level < 1 + gamma


@given(st.integers(0, 200), st.integers(1, 20))
def test_feedback_that_comes_late_costs_no_more_than_what_is_under_way(seed: int, delay: int) -> None:
    """The level learns of a decision only ``delay`` decisions later, as from servers that answer out of step:
    over T decisions the miss is at most (1 + gamma + gamma delay) / (gamma T) plus the delay / T not yet told."""
    rate, gamma, level, total = 0.4, 1 / 19, 0.4, 600
    rng = np.random.default_rng(seed)
    under_way: list[bool] = []
    rejected = 0
    for score in (rng.random(total) ** 3).tolist():
        under_way.append(score <= level)
        rejected += under_way[-1]
        if len(under_way) > delay:
            level += gamma * (rate - under_way.pop(0))
    assert abs(rejected / total - rate) <= ((1 + gamma * (1 + delay)) / gamma + delay) / total


def test_the_step_of_the_level_is_that_of_the_bound() -> None:
    gamma = gamma_for(400, 0.05)
    assert gamma == 1 / 19
    assert (1 + gamma) / (gamma * 400) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no step"):
        gamma_for(10, 0.05)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), max_size=80), st.sampled_from([0, 5]))
def test_a_bank_that_learns_what_another_decided_goes_on_like_it(steps: list[tuple[int, int]], window: int) -> None:
    """Any cut of any sequence: the decisions behind it are the same, percentile, p-value, level and all."""
    whole = Online(0.4, 7, window, gamma=0.1)
    told = [whole(float(score), turn) for turn, score in steps]
    cut = len(steps) // 2
    resumed = Online(0.4, 7, window, gamma=0.1)
    for (turn, score), verdict in zip(steps[:cut], told, strict=False):
        resumed.learn(float(score), turn, verdict.rejected)
    resumed.decisions = cut
    assert [resumed(float(score), turn) for turn, score in steps[cut:]] == told[cut:]


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
