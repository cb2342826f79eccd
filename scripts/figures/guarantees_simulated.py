"""Scores drawn from known laws: whether tally cover as often as they say."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ATTS.analysis import expected_rates, intervals
from ATTS.method.conformal import forms

Figures = dict[str, Any]
RATE = 0.4


def exchangeable(n: int, runs: int, seed: int = 0) -> Figures:
    """``runs`` runs of n calibration scores and n new ones: how often the share rejected lies in its exact
    interval, and how often it should.

    The interval is of whole counts, so its nominal frequency is not 95 % but what the beta-binomial
    law gives it. Only ranks matter, so the scores are uniform.
    """
    rng = np.random.default_rng(seed)
    k = forms.threshold(n, RATE, "published")
    low, high = forms.realised_interval(n, k, n)
    nominal = float(np.diff(stats.betabinom.cdf([round(low * n) - 1, round(high * n)], n, n + 1 - k, k))[0])
    inside, shares = 0, []
    for _ in range(runs):
        threshold = np.partition(rng.random(n), k - 1)[k - 1]
        share = float((rng.random(n) > threshold).mean())
        inside += low - 1e-9 <= share <= high + 1e-9
        shares.append(share)
    error = math.sqrt(nominal * (1 - nominal) / runs)
    return {
        "n": n,
        "runs": runs,
        "expected rate": forms.expected_rate(n, k),
        "mean rate": float(np.mean(shares)),
        "low": low,
        "high": high,
        "nominal frequency": nominal,
        "frequency": inside / runs,
        "standard error": error,
        "reached": abs(inside / runs - nominal) <= 3 * error,
    }


def question_scores(rng: np.random.Generator, questions: int, repeats: int, correlation: float) -> NDArray[np.float64]:
    """Normal scores with this intraclass correlation, question by question."""
    common = math.sqrt(correlation) * rng.standard_normal((questions, 1))
    return np.asarray(common + math.sqrt(1 - correlation) * rng.standard_normal((questions, repeats))).ravel()


def by_question(questions: int, runs: int, repeats: int = 16, correlation: float = 0.6, seed: int = 0) -> Figures:
    """Runs whose repeats agree: how often 95 % intervals cover.

    Of the expected rate of such questions, after the run: over questions (design effect), by bootstrap,
    and pooled. Of the share that will be rejected, before the run and from the calibration scores alone: of
    other questions, pooled, and of the calibrated questions themselves.
    """
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(questions), repeats)
    n = len(of)
    k = forms.threshold(n, RATE, "published")
    pooled_promise = forms.realised_interval(n, k, n)
    covered = dict.fromkeys(("over questions", "bootstrap", "pooled", "promise", "pooled promise", "same questions"), 0)
    worth, widths = [], []
    for run in range(runs):
        both = question_scores(rng, questions, 2 * repeats, correlation).reshape(questions, 2, -1)
        calibration, again = both[:, 0].ravel(), both[:, 1].ravel()
        new = question_scores(rng, questions, repeats, correlation)
        threshold = float(np.sort(calibration)[k - 1])
        rejected = new > threshold
        truth, share = 1 - float(stats.norm.cdf(threshold)), float(rejected.mean())
        made = expected_rates.others(calibration, of, RATE, "published", questions, repeats)
        same = expected_rates.same(calibration, of, RATE, "published", repeats).interval(n)
        found = intervals.interval(rejected, of)
        widths.append(same[1] - same[0])
        bounds = {
            "over questions": (found.low, found.high, truth),
            "bootstrap": (*bootstrap(rejected.reshape(questions, repeats).mean(axis=1), run), truth),
            "pooled": (*intervals.clopper_pearson(share, n), truth),
            "promise": (*made.interval(n), share),
            "pooled promise": (*pooled_promise, share),
            "same questions": (*same, float((again > threshold).mean())),
        }
        for name, (low, high, value) in bounds.items():
            covered[name] += low <= value <= high
        worth.append(made.worth)
    shares = {name: count / runs for name, count in covered.items()}
    return {
        "questions": questions,
        "scores": n,
        "worth": float(np.median(worth)),
        "runs": runs,
        **shares,
        "width, same questions": float(np.mean(widths)),
        "reached": min(shares["over questions"], shares["promise"], shares["same questions"])
        >= 0.94
        > shares["pooled"],
    }


def bootstrap(values: ArrayLike, seed: int, resamples: int = 500) -> tuple[float, float]:
    """Efron's percentile interval of the mean, questions drawn with replacement: what the others are compared
    with."""
    values = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def difficulties(mean: float, correlation: float, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each question's chance of a right answer: beta with this mean and intraclass correlation, in the order of
    ``normal`` numbers, which two runs may share."""
    total = 1 / correlation - 1
    return np.asarray(stats.beta.ppf(stats.norm.cdf(normal), mean * total, (1 - mean) * total))


def accuracies(questions: int, repeats: int, truth: float, runs: int, seed: int = 0) -> Figures:
    """How often 95 % intervals cover a true mean accuracy, and a true pass@k of the same height for k =
    ``repeats``, at the worst of three intraclass correlations; and by bootstrap."""
    rng = np.random.default_rng((seed, questions, repeats))
    of = np.repeat(np.arange(questions), repeats)
    worst = {"mean accuracy": 1.0, "by bootstrap": 1.0, "pass@k": 1.0, "pass@k, by bootstrap": 1.0}
    widths = []
    for correlation in (0.1, 0.4, 0.8):
        covered = dict.fromkeys(worst, 0)
        passes = mean_that_passes(truth, correlation, repeats)
        for run in range(runs):
            chance = difficulties(truth, correlation, rng.standard_normal(questions))
            right = rng.random((questions, repeats)) < chance[:, None]
            found = intervals.interval(right.ravel(), of)
            chance = difficulties(passes, correlation, rng.standard_normal(questions))
            passed = (rng.random((questions, repeats)) < chance[:, None]).any(axis=1).astype(np.float64)
            of_pass = intervals.of_questions(passed)
            for name, (low, high) in {
                "mean accuracy": (found.low, found.high),
                "by bootstrap": bootstrap(right.astype(np.float64).mean(axis=1, keepdims=True).ravel(), run, 200),
                "pass@k": (of_pass.low, of_pass.high),
                "pass@k, by bootstrap": bootstrap(passed, run, 200),
            }.items():
                covered[name] += low <= truth <= high
            widths.append(found.high - found.low)
        worst = {name: min(worst[name], count / runs) for name, count in covered.items()}
    return {
        "questions": questions,
        "repeats": repeats,
        "truth": truth,
        **worst,
        "width": float(np.mean(widths)),
        "reached": min(worst["mean accuracy"], worst["pass@k"]) >= 0.93,
    }


def mean_that_passes(truth: float, correlation: float, k: int) -> float:
    """The mean of a beta distribution for which the expected pass@k is ``truth``."""
    from scipy import optimize, special

    total = 1 / correlation - 1

    def miss(mean: float) -> float:
        a, b = mean * total, (1 - mean) * total
        return float(1 - math.exp(special.betaln(a, b + k) - special.betaln(a, b)) - truth)

    return float(optimize.brentq(miss, 1e-9, 1 - 1e-9))


def differences(questions: int, repeats: int, first: float, second: float, runs: int, seed: int = 0) -> Figures:
    """How often the 95 % interval of the difference of two runs covers the true one, and by bootstrap, at the
    worst of two intraclass correlations and of two runs that find the same or partly other questions hard.
    For equal runs what is missing to 1 is the share of false alarms."""
    rng = np.random.default_rng((seed, questions, repeats, 1))
    worst = {"covered": 1.0, "by bootstrap": 1.0}
    widths = []
    for correlation, agreement in ((0.3, 1.0), (0.3, 0.5), (0.8, 1.0), (0.8, 0.5)):
        covered = dict.fromkeys(worst, 0)
        for run in range(runs):
            normal, other = rng.standard_normal((2, questions))
            of_second = agreement * normal + math.sqrt(1 - agreement**2) * other
            chances = difficulties(first, correlation, normal), difficulties(second, correlation, of_second)
            one, two = (rng.binomial(repeats, chance) / repeats for chance in chances)
            low, high = intervals.difference(two - one)
            covered["covered"] += low <= second - first <= high
            widths.append(high - low)
            low, high = bootstrap(two - one, run, 200)
            covered["by bootstrap"] += low <= second - first <= high
        worst = {name: min(worst[name], count / runs) for name, count in covered.items()}
    most = 1 - worst["covered"]
    return {
        "questions": questions,
        "repeats": repeats,
        "first": first,
        "second": second,
        **worst,
        "width": float(np.mean(widths)),
        "reached": most <= (0.055 if first == second else 0.07),
    }


QUESTIONS, REPEATS, TRUTHS = (15, 30, 48, 100), (1, 4, 16), (0.5, 0.9, 0.95, 0.98, 0.99)
PAIRS = ((0.5, 0.5), (0.9, 0.9), (0.98, 0.98), (0.9, 0.95), (0.95, 0.99))


def all_accuracies(runs: int) -> dict[str, list[Figures]]:
    return {
        "accuracy": [accuracies(q, r, t, runs) for q in QUESTIONS for r in REPEATS for t in TRUTHS],
        "low rates": [accuracies(q, 16, t, runs) for q in QUESTIONS for t in (0.01, 0.02, 0.05)],
        "differences": [
            differences(q, r, *pair, 4 * runs if pair[0] == pair[1] else 2 * runs)
            for q in QUESTIONS
            for r in REPEATS
            for pair in PAIRS
        ],
    }


def all_figures(
    runs: int, sizes: Sequence[int], questions: Sequence[int], clustered_runs: int
) -> dict[str, list[Figures]]:
    return {
        "exchangeable": [exchangeable(n, runs) for n in sizes],
        "clustered": [by_question(count, clustered_runs) for count in questions],
        **all_accuracies(max(1, clustered_runs // 2)),
    }
