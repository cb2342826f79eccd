"""Rates that hold: p-values, sets by turn, memory banks, the level that follows, intervals over questions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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
        with pytest.raises(ValueError, match="at least 20 are needed"):
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
    """40 scores of 2 questions are worth 3.2; those of 20 questions 25; and 20 questions count however few samples."""
    scores = {0: np.arange(1.0, 41.0), 1: np.arange(1.0, 41.0)}
    two, twenty = np.arange(40) % 2, np.arange(40) % 20
    with pytest.raises(ValueError, match=r"worth 3\.23 independent ones, at least 20 are needed"):
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


@pytest.mark.parametrize("gamma", [0, 1 / 19])
def test_a_bank_from_cold_keeps_the_rate_of_exchangeable_scores_from_the_first_decision_on(gamma: float) -> None:
    """Decision by decision over 4,000 banks: each is rejected at the rate, the first ones included."""
    rng = np.random.default_rng(3)
    rejected = np.zeros(12)
    for seed in range(4000):
        bank = Online(0.4, seed, gamma=gamma, by_turn=True)
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
    assert -gamma < judge.levels[0] < 1 + gamma


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.4, 0.8]), st.sampled_from([0.01, 1 / 19, 0.5]))
def test_a_level_a_turn_holds_the_rate_of_each_turn_whatever_the_scores(seed: int, rate: float, gamma: float) -> None:
    """Turns that overlap, each with scores that rise as its late samples come: at each turn, of any W decisions in a
    row, the miss is at most (1 + gamma) / (gamma W). One level for all of them can't promise that."""
    rng = np.random.default_rng(seed)
    rising = [
        (when + 40 * turn, turn, when + 9 * rng.random()) for turn in range(3) for when in range(0, 200, turn + 1)
    ]
    judge = Online(rate, seed, gamma=gamma, by_turn=True)
    rejected: dict[int, list[bool]] = {turn: [] for turn in range(3)}
    for _, turn, score in sorted(rising):
        rejected[turn].append(judge(score, turn).rejected)
    for turn, decided in rejected.items():
        assert -gamma < judge.levels[turn] < 1 + gamma
        sums = np.concatenate([[0], np.cumsum(decided)])
        for window in (1, 20, len(decided)):
            misses = (sums[window:] - sums[:-window]) / window - rate
            assert abs(misses).max() <= (1 + gamma) / (gamma * window) + 1e-9


@given(st.integers(0, 1000), st.lists(st.floats(0, 1), max_size=3), st.sampled_from([1 / 19, 0.5]))
def test_levels_hold_the_rate_of_what_is_kept_when_some_decisions_are_done_again(
    seed: int, lost: list[float], gamma: float
) -> None:
    """After each interruption the rejected ones of the newest are lost, and a new process learns the others: at a
    turn with d lost, the kept ones miss by at most (1 + gamma) / gamma + d decisions."""
    rng = np.random.default_rng(seed)
    kept: list[tuple[float, int, bool]] = []
    again = [0, 0]
    for share in [*lost, 0.0]:
        judge = Online(0.4, seed, gamma=gamma, by_turn=True)
        for entry in kept:
            judge.learn(*entry)
        made = [(score, int(rng.integers(2))) for score in rng.random(150).tolist()]
        kept += [(score, turn, judge(score, turn).rejected) for score, turn in made]
        gone = [entry for entry in kept[len(kept) - round(share * 40) :] if entry[2]]
        again = [again[turn] + sum(entry[1] == turn for entry in gone) for turn in range(2)]
        kept = [entry for entry in kept if entry not in gone]
    for turn in range(2):
        decided = [rejected for _, at, rejected in kept if at == turn]
        assert abs(sum(decided) - 0.4 * len(decided)) <= (1 + gamma) / gamma + again[turn] + 1e-9


def test_one_level_for_all_turns_lets_a_turn_miss_where_a_level_a_turn_does_not() -> None:
    """800 scores that rise and 800 that fall, at two turns in step: only the sum of both is held by one level."""
    missed = {}
    for by_turn in (False, True):
        judge = Online(0.4, gamma=1 / 19, by_turn=by_turn)
        decided = [[judge(score, turn).rejected for turn, score in ((0, when), (1, 900 - when))] for when in range(800)]
        missed[by_turn] = float(abs(np.mean(decided, axis=0) - 0.4).max())
    assert missed[False] > 0.3
    assert missed[True] <= (1 + 1 / 19) * 19 / 800 + 1e-9


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


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), max_size=80), st.sampled_from([0, 5]), st.booleans())
def test_a_bank_that_learns_what_another_decided_goes_on_like_it(
    steps: list[tuple[int, int]], window: int, by_turn: bool
) -> None:
    """Any cut of any sequence: the decisions behind it are the same, percentile, p-value, level and all."""
    whole = Online(0.4, 7, window, gamma=0.1, by_turn=by_turn)
    told = [whole(float(score), turn) for turn, score in steps]
    cut = len(steps) // 2
    resumed = Online(0.4, 7, window, gamma=0.1, by_turn=by_turn)
    for (turn, score), verdict in zip(steps[:cut], told, strict=False):
        resumed.learn(float(score), turn, verdict.rejected)
    resumed.decisions = cut
    assert [resumed(float(score), turn) for turn, score in steps[cut:]] == told[cut:]
