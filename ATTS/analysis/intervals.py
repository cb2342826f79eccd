"""All intervals of this project: shares, means and differences of questions, and ratios.

The sampling units are questions: the repeats of one are not independent, so ``values`` come with
``clusters`` that say which question each belongs to. An interval is of what other questions like
these would give. docs/GUARANTEES.md measures how often the intervals cover.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share or mean with its interval; ``design_effect`` is how many clustered values are worth one."""

    n: int
    clusters: int
    rate: float
    low: float
    high: float
    design_effect: float


def _sums(values: NDArray[np.float64], clusters: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of each cluster's values."""
    _, number = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(number, weights=values).astype(np.float64), np.bincount(number).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Worth:
    """How many independent values say as much about the mean: as estimated, and at the very least."""

    estimate: float
    least: float
    degrees: float  # of freedom that as many independent values would have


def _worth(x: NDArray[np.float64], clusters: ArrayLike) -> _Worth:
    sums, sizes = _sums(x, clusters)
    total, k = float(sizes.sum()), len(sizes)
    size = float((sizes**2).sum()) / total  # of the question that a value belongs to, on average
    mean = (float(sums.sum()) + size / 2) / (total + size)
    squares = float(((sums - mean * sizes) ** 2).sum()) + size**2 * ((1 - mean) ** 2 + mean**2) / 2
    variance = (k + 1) / k * squares / (total + size) ** 2
    whole = np.isin(x, (0.0, 1.0)).all()
    least, most = total / size, total if whole else math.inf
    return _Worth(max(least, min(most, mean * (1 - mean) / variance)), least, total - 1 if whole else math.inf)


def worth(values: ArrayLike, clusters: ArrayLike) -> float:
    """The number of independent values, 0 or 1, that tell as much about the mean: p (1 - p) / its variance.

    The mean is a ratio of sums over clusters, its variance by linearisation (Kish, Survey Sampling,
    1965). Where few questions differ from the rest, the values hardly tell their own variance, so it is
    that of one more question of which half is 1 and half 0 (as Agresti and Coull, The American
    Statistician 52, 1998, add values to independent ones): one wrong answer of a thousand doesn't show
    that repeats are independent. Never less than one value a question (n^2 / sum of squared sizes where
    sizes differ), and never more than there are if all are 0 or 1.
    """
    return _worth(np.asarray(values, dtype=np.float64), clusters).estimate


def interval(values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the expectation, over questions like these, of values between 0 and 1.

    Clopper and Pearson's interval for as many independent values as these are worth, less by the
    squared ratio of Student's quantiles because the worth is estimated from so many questions (Korn and
    Graubard, Survey Methodology 24, 1998). From 0 to 1 for one question, NaN for none.
    """
    from scipy import stats  # takes most of a second to import

    x = np.asarray(values, dtype=np.float64)
    k = len(np.unique(np.asarray(clusters)))
    if not len(x):
        return Interval(0, 0, math.nan, math.nan, math.nan, math.nan)
    rate, effective = float(np.clip(x.mean(), 0, 1)), _worth(x, clusters)
    low, high = 0.0, 1.0
    if k > 1:
        upper = (1 + confidence) / 2
        sure = effective.estimate * float(stats.t.ppf(upper, effective.degrees) / stats.t.ppf(upper, k - 1)) ** 2
        low, high = clopper_pearson(rate, max(effective.least, sure), confidence)
    return Interval(len(x), k, rate, low, high, len(x) / effective.estimate)


def of_questions(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the mean of one value a question, such as pass@k: :func:`interval`, each a cluster."""
    x = np.asarray(values, dtype=np.float64)
    return interval(x, np.arange(len(x)), confidence)


def clopper_pearson(rate: float, n: float, confidence: float = 0.95) -> Bounds:
    """Biometrika 26, 1934, by beta quantiles, so that ``n`` need not be whole."""
    from scipy import stats

    tail, right = (1 - confidence) / 2, rate * n
    low = float(stats.beta.ppf(tail, right, n - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, n - right)) if right < n else 1.0
    return min(low, rate), max(high, rate)  # rounding can't leave the rate out


def difference(values: ArrayLike, confidence: float = 0.95) -> Bounds:
    """Interval of the mean difference of two runs, from one difference a question between -1 and 1.

    Student's interval with two more questions, one for each run: Bonett and Price, Journal of
    Educational and Behavioral Statistics 37, 2012, whose formula this is where differences are -1, 0 and
    1. So runs that agree on every question still have a width.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return -1.0, 1.0
    more = np.append(x, (-1.0, 1.0))
    half = float(stats.t.ppf((1 + confidence) / 2, len(more) - 1) * stats.sem(more))
    middle, mean = float(more.mean()), float(x.mean())
    return max(-1.0, min(middle - half, mean)), min(1.0, max(middle + half, mean))


def ratio(above: ArrayLike, below: ArrayLike, confidence: float = 0.95) -> Bounds | None:
    """Interval of the ratio of two means over the same questions, both positive; None for one question.

    Student's interval of the ratio's logarithm, its variance by linearisation (Cochran, Sampling
    Techniques, 1977, section 6.3).
    """
    from scipy import stats

    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    k = len(a)
    if k < 2 or not a.sum() or not b.sum():
        return None
    value = float(a.sum() / b.sum())
    error = math.sqrt(k / (k - 1) * float(((a - value * b) ** 2).sum())) / float(a.sum())
    factor = math.exp(float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error)
    return value / factor, value * factor
