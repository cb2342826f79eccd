"""What scores that come in questions can promise: the repeats of one question are not independent.

``values`` are 0 or 1 (a chunk was rejected), ``clusters`` say which question each belongs to.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ATTS.method.conformal.forms import beta_interval


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its interval; ``design_effect`` is how many clustered values are worth one."""

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


def design_effect(values: ArrayLike, clusters: ArrayLike) -> float:
    """Variance of the share over that of as many independent values (Kish, Survey Sampling, 1965).

    The share is a ratio of sums over clusters, its variance by linearisation; clusters are the
    sampling units. If all values are the same, nothing can be seen of it, and the worst is taken:
    each cluster counts once. Never below 1.
    """
    x = np.asarray(values, dtype=np.float64)
    sums, sizes = _sums(x, clusters)
    n, k, rate = len(x), len(sizes), float(x.mean())
    worst = float((sizes**2).sum() / sizes.sum())
    if k < 2 or rate in (0.0, 1.0):
        return worst
    variance = k / (k - 1) * float(((sums - rate * sizes) ** 2).sum()) / n**2
    return max(1.0, variance / (rate * (1 - rate) / n))


def interval(values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the share's expectation over questions like these.

    Wilson's interval for ``n / design effect`` independent values, Student's quantile for as many
    degrees of freedom as there are clusters less one in place of the normal one (the effective
    sample size of Korn and Graubard, Survey Methodology 24, 1998, in Wilson's formula as in Dean and
    Pagano, Journal of Survey Statistics and Methodology 3, 2015). NaN without values.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    k = len(np.unique(np.asarray(clusters)))
    if not len(x):
        return Interval(0, 0, math.nan, math.nan, math.nan, math.nan)
    effect = design_effect(x, clusters)
    rate, n = float(x.mean()), len(x) / effect
    quantile = float(stats.t.ppf((1 + confidence) / 2, k - 1)) if k > 1 else math.inf
    low, high = wilson(rate, n, quantile)
    return Interval(len(x), k, rate, low, high, effect)


def wilson(rate: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson, Journal of the American Statistical Association 22, 1927."""
    if math.isinf(quantile):
        return 0.0, 1.0
    q = quantile**2 / n
    middle, half = (rate + q / 2) / (1 + q), math.sqrt(q * rate * (1 - rate) + q**2 / 4) / (1 + q)
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))  # rounding can't leave the rate out


def bootstrap(
    values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the same share by drawing questions with replacement (Efron's percentile interval)."""
    sums, sizes = _sums(np.asarray(values, dtype=np.float64), clusters)
    picks = np.random.default_rng(seed).integers(len(sizes), size=(resamples, len(sizes)))
    shares = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    low, high = np.quantile(shares, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Promise:
    """Where the share of rejected chunks will lie, before any is: ``low`` to ``high``.

    ``worth`` is the number of independent scores that the calibration set stands for.
    """

    scores: int
    clusters: int
    worth: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def promise(scores: ArrayLike, clusters: ArrayLike, rate: float, new: int = 0, confidence: float = 0.95) -> Promise:
    """Interval of the share rejected among ``new`` chunks (0: in the long run) of other such questions.

    The beta-binomial of :func:`forms.realised_interval` with both numbers divided by the design
    effect of "is among the worst ``rate``" in the calibration set itself, and, as that is an estimate,
    by the squared ratio of Student's quantile to the normal one (as in :func:`interval`).
    """
    from scipy import stats

    x = np.asarray(scores, dtype=np.float64)
    worst = x > np.quantile(x, 1 - rate, method="inverted_cdf")
    k = len(np.unique(np.asarray(clusters)))
    worth = len(x) / design_effect(worst, clusters)
    if k > 1:
        upper = (1 + confidence) / 2
        worth *= float(stats.norm.ppf(upper) / stats.t.ppf(upper, k - 1)) ** 2
    low, high = beta_interval(
        rate * (worth + 1), (1 - rate) * (worth + 1), max(1, round(new * worth / len(x))) if new else 0, confidence
    )
    return Promise(len(x), k, worth, low, high)
