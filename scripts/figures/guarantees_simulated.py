"""Scores drawn from known laws: whether tally cover as often as they say."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ATTS.analysis import intervals
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
    """Runs whose repeats agree: how often four 95 % tally cover.

    Of the expected rate of such questions, after the run: over questions (design effect), by bootstrap,
    and pooled. Of the share that will be rejected, before the run and from the calibration scores alone:
    over questions, and pooled.
    """
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(questions), repeats)
    n = len(of)
    k = forms.threshold(n, RATE, "published")
    normal = float(stats.norm.ppf(0.975))
    pooled_promise = forms.realised_interval(n, k, n)
    covered = dict.fromkeys(("over questions", "bootstrap", "pooled", "promise", "pooled promise"), 0)
    worth = []
    for run in range(runs):
        calibration, new = (question_scores(rng, questions, repeats, correlation) for _ in range(2))
        threshold = float(np.sort(calibration)[k - 1])
        rejected = new > threshold
        truth, share = 1 - float(stats.norm.cdf(threshold)), float(rejected.mean())
        made = intervals.promise(calibration, of, RATE, n)
        found = intervals.interval(rejected, of)
        tally = {
            "over questions": (found.low, found.high, truth),
            "bootstrap": (*intervals.bootstrap(rejected, of, resamples=500, seed=run), truth),
            "pooled": (*intervals.wilson(share, n, normal), truth),
            "promise": (made.low, made.high, share),
            "pooled promise": (*pooled_promise, share),
        }
        for name, (low, high, value) in tally.items():
            covered[name] += low <= value <= high
        worth.append(made.worth)
    shares = {name: count / runs for name, count in covered.items()}
    return {
        "questions": questions,
        "scores": n,
        "worth": float(np.median(worth)),
        "runs": runs,
        **shares,
        "reached": min(shares["over questions"], shares["promise"]) >= 0.94 > shares["pooled"],
    }


def all_figures(
    runs: int, sizes: Sequence[int], questions: Sequence[int], clustered_runs: int
) -> dict[str, list[Figures]]:
    return {
        "exchangeable": [exchangeable(n, runs) for n in sizes],
        "clustered": [by_question(count, clustered_runs) for count in questions],
    }
