"""Percentile, p-values, and how rate, threshold and budget hang together for n scores exactly.

Of n calibration scores, ``below`` are smaller than the new score and ``equal`` equal to it.
"""

import math
from typing import Literal

Form = Literal["published", "bounded", "smoothed"]
HAIR = 1e-9  # 1 - 0.7 is not 0.3 in binary, so products with counts are taken up to this


def p_value(below: int, n: int) -> float:
    """``(1 + #{s_i >= s}) / (n + 1)``: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005,
    eq. 2.18; the paper's section 3 has the same with the signs of the scores turned round."""
    return (1 + n - below) / (n + 1)


def smoothed_p_value(below: int, equal: int, n: int, draw: float) -> float:
    """``(#{s_i > s} + u (1 + #{s_i = s})) / (n + 1)`` with u uniform on (0, 1]: exactly uniform if the scores are
    exchangeable, whatever n, 0 included (Vovk et al. 2005, eq. 2.20)."""
    return (n - below - equal + draw * (1 + equal)) / (n + 1)


def threshold(n: int, rate: float, form: Literal["published", "bounded"]) -> int:
    """The k for which a chunk is rejected iff at least k of the n scores are below its own.

    published: the percentile ``#{s_i < s} / n`` (strict, no +1) reaches ``1 - rate``, as in the published code.
    bounded: ``p_value <= rate``. At a rate of 0 no chunk is rejected, not even one whose percentile is 1.
    """
    if rate == 0:
        return n + 1
    if form == "published":
        return math.ceil((1 - rate) * n - HAIR)
    return n + 1 - math.floor(rate * (n + 1) + HAIR)


def expected_rate(n: int, k: int) -> float:
    """Chance that an exchangeable new score has at least k of n distinct ones below it: its rank among n + 1
    is uniform. It is at most the rate for the bounded form, and the rate itself, on average, for the smoothed one."""
    return (n + 1 - k) / (n + 1)


def rate_of_budget(budget: float, repeats: int) -> float:
    """The paper's alpha: ``|C_alpha| = B`` of m samples, so alpha = B / m."""
    return budget / repeats


def realised_interval(n: int, k: int, m: int, confidence: float = 0.95) -> tuple[float, float]:
    """Central interval of the share rejected among m exchangeable new scores.

    Their number is beta-binomial with a = n + 1 - k and b = k: the threshold is the k-th order
    statistic of n uniform ones (Marques, arXiv 2303.02770; Angelopoulos and Bates, arXiv 2107.07511,
    section 3.2). m = 0 stands for infinitely many: beta. Assumes distinct, independent scores.
    """
    return beta_interval(n + 1 - k, k, m, confidence)


def beta_interval(a: float, b: float, m: int, confidence: float = 0.95) -> tuple[float, float]:
    """Central interval of a beta-binomial share of m, or of the beta variable itself for m = 0."""
    from scipy import stats  # takes most of a second to import

    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    if b <= 0:
        return 1.0, 1.0
    if a <= 0:
        return 0.0, 0.0
    if m == 0:
        low, high = stats.beta.ppf(tails, a, b)
    else:
        low, high = stats.betabinom.ppf(tails, m, a, b) / m
    return float(low), float(high)


def smallest_calibration_set(rejection_rate: float) -> int:
    """The fewest scores that can support ``rejection_rate``: the smallest p-value is 1 / (n + 1). At a rate of 0
    none is compared with anything, and one is enough for a percentile."""
    if rejection_rate == 0:
        return 1
    return max(1, math.ceil(1 / rejection_rate - 1 - HAIR))
