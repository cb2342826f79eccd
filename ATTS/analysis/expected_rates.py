"""Where the share of rejected chunks will lie, from calibration scores alone and before any chunk is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ATTS.analysis.intervals import worth
from ATTS.method.conformal import forms
from ATTS.method.conformal.forms import Form


@dataclass(frozen=True, slots=True)
class Expected:
    """A rate's distribution: mean, variance, and the independent calibration scores that it rests on."""

    mean: float
    variance: float
    worth: float

    def interval(self, new: int = 0, confidence: float = 0.95) -> tuple[float, float]:
        """Of the beta distribution with this mean and variance, widened to whole counts of ``new`` chunks."""
        from scipy import stats

        total = self.mean * (1 - self.mean) / self.variance - 1
        if total <= 0:
            return 0.0, 1.0
        tails = ((1 - confidence) / 2, (1 + confidence) / 2)
        low, high = map(float, stats.beta.ppf(tails, self.mean * total, (1 - self.mean) * total))
        return (math.floor(low * new) / new, math.ceil(high * new) / new) if new else (low, high)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Which of the calibration scores the rule rejects, 0 or 1 each (smoothed: or a chance), and the share of
    exchangeable new ones that it will: the rank formula of :mod:`forms`, ties counted as they are."""

    rejected: NDArray[np.float64]
    expected: float


def threshold(scores: ArrayLike, rate: float, form: Form) -> Threshold:
    """The rule's of ``rate`` on ``scores``."""
    x = np.asarray(scores, dtype=np.float64)
    edges, n = np.concatenate([[-math.inf], np.sort(x), [math.inf]]), len(x)
    if form != "smoothed":
        rejected = (x > edges[forms.threshold(n, rate, form)]).astype(np.float64)
        return Threshold(rejected, (float(rejected.sum()) + 1) / (n + 1))
    k, between = divmod((1 - rate) * (n + 1), 1)
    low, high = edges[int(k)], edges[min(int(k) + 1, n + 1)]
    return Threshold((1 - between) * (x > low) + between * (x > high), rate)


def others(
    scores: ArrayLike,
    clusters: ArrayLike,
    rate: float,
    form: Form = "published",
    questions: int = 0,
    repeats: int = 1,
) -> Expected:
    """Of ``repeats`` chunks each of so many other questions (0: in the long run), like the calibrated ones.

    The beta-binomial law of :func:`forms.realised_interval` with both numbers cut down to what clustered
    scores are worth: of the calibration scores as in :func:`intervals.interval`, of the new ones by the
    design effect 1 + (repeats - 1) correlation (Kish, Survey Sampling, 1965). One score a question tells no
    correlation: then each new question counts once.
    """
    from scipy import stats

    rule = threshold(scores, rate, form)
    n, k = len(rule.rejected), len(np.unique(np.asarray(clusters)))
    effective = worth(rule.rejected.round(), clusters)
    correlation = min(1.0, (n / effective - 1) / (n / k - 1)) if n > k else 1.0
    if k > 1:
        effective *= float(stats.norm.ppf(0.975) / stats.t.ppf(0.975, k - 1)) ** 2
    mean = _inside(rule.expected, n)
    spread = mean * (1 - mean)
    variance = spread / (effective + 2)
    if questions:
        variance += (spread - variance) * (1 + (repeats - 1) * correlation) / (questions * repeats)
    return Expected(mean, variance, effective)


def same(
    scores: ArrayLike,
    clusters: ArrayLike,
    rate: float,
    form: Form = "published",
    repeats: int = 0,
    evaluated: Sequence[int] | None = None,
) -> Expected:
    """Of ``repeats`` chunks (0: in the long run) of each question in ``evaluated`` (None: all), calibrated ones.

    How hard the questions are is then no matter of chance: what varies are the calibration scores and
    the new chunks of each question, independent draws of its own distribution, so the variance is that of
    stratified samples with p (1 - p) estimated in each (Cochran, Sampling Techniques, 1977, section
    5.9), one more question of p = 1/2 added. One score a question says nothing about its p: then 1/4
    stands for p (1 - p), which is the most it can be.
    """
    rule = threshold(scores, rate, form)
    labels = np.asarray(clusters)
    n = len(rule.rejected)
    which = np.unique(labels) if evaluated is None else np.unique(evaluated)
    own = [rule.rejected[labels == question] for question in which]
    shares = np.array([chunks.mean() for chunks in own])
    mean = _inside(float(shares.mean()) + rule.expected - float(rule.rejected.mean()), n)
    unexplained = [float(chunks.var(ddof=1)) for chunks in own if len(chunks) > 1]
    within = (sum(unexplained) + 0.25) / (len(unexplained) + 1) if unexplained else 0.25
    size = 1 / float(np.mean([1 / len(chunks) for chunks in own]))
    within = min(within, mean * (1 - mean)) if evaluated is None else within
    variance = within / len(own) * (1 / size + (1 / repeats if repeats else 0))
    return Expected(mean, variance, mean * (1 - mean) * len(own) * size / within)


def mixed(parts: Sequence[tuple[int, Expected]]) -> Expected:
    """Of several sets of questions together, ``(questions, rate)`` each."""
    total = sum(count for count, _ in parts)
    return Expected(
        sum(count * part.mean for count, part in parts) / total,
        sum(count**2 * part.variance for count, part in parts) / total**2,
        sum(part.worth for _, part in parts) / len(parts),
    )


def _inside(rate: float, n: int) -> float:
    """No rate is known to be 0 or 1 from n scores."""
    return min(max(rate, 0.5 / (n + 1)), 1 - 0.5 / (n + 1))
