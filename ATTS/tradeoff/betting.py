"""Whether an expected loss is at most a limit: p-values by betting, one for every setting, and rules for several.

A loss is one number a question, in [-1, 1]: whatever is within a question (repeats that agree, settings on the same
questions) needs no model. The order of the questions must not depend on their losses.

Sources: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, arXiv 2010.09686 (the capital
of one side, bets by the predictable plug-in for a fixed number of values); Angelopoulos et al., Learn then Test, arXiv
2110.01052 (losses that are not monotone); Bretz et al., A graphical approach to sequentially rejective multiple test
procedures, Statistics in Medicine 28, 2009 (what is left of the error when a sequence is through).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOLDEST = 0.99  # of the bet at which one loss of 1 takes the whole capital
POWER, DRAWS, MOST = (
    0.8,
    200,
    20_000,
)  # a number of questions is enough if so many of so many draws pass; the most tried


def p_values(losses: ArrayLike, max_loss: float, level: float) -> NDArray[np.float64]:
    """For "the expected loss is above ``max_loss``", by the questions along the last axis; 1 without questions.

    Y = (1 - loss) / 2 has an expectation of at most m = (1 - max_loss) / 2 if that is true. The capital multiplied by
    1 + b (Y - m) at every question, with bets 0 <= b < 1 / m that know only the questions before, is then a nonnegative
    supermartingale, which ever reaches 1 / p with probability at most p (Ville). The bets are those that are best at
    ``level``; the p-value holds at every level. Raises ValueError for losses outside [-1, 1].
    """
    x = np.asarray(losses, dtype=np.float64)
    if x.size and not (np.abs(x) <= 1).all():
        raise ValueError("losses must lie in [-1, 1]")
    if not x.shape[-1]:
        return np.ones(x.shape[:-1])
    won, m = (1 - x) / 2, (1 - max_loss) / 2
    if m <= 0:  # no loss is above 1
        return np.zeros(x.shape[:-1])
    n = x.shape[-1]
    so_far = np.arange(1, n + 1)
    means = (0.5 + won.cumsum(-1)) / (so_far + 1)
    variances = (0.25 + ((won - means) ** 2).cumsum(-1)) / (so_far + 1)
    before = np.concatenate([np.full((*x.shape[:-1], 1), 0.25), variances[..., :-1]], axis=-1)
    bets = np.minimum(np.sqrt(2 * math.log(1 / level) / (n * before)), BOLDEST / m)
    capital = np.log1p(bets * (won - m)).cumsum(-1).max(-1)
    return np.asarray(np.exp(-np.maximum(capital, 0.0)))


def p_value(losses: ArrayLike, max_loss: float, level: float) -> float:
    """Of one setting."""
    return float(p_values(losses, max_loss, level))


def upper_bound(losses: ArrayLike, level: float) -> float:
    """The expected loss is at most this with confidence 1 - ``level``: the limits that can't be refuted end here.

    The p-value falls as ``max_loss`` rises, whatever the losses.
    """
    low, high = -1.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(losses, middle, level) <= level else (middle, high)
    return high


def passed(chains: Sequence[Sequence[float]], level: float) -> list[int]:
    """How many of each chain pass, from its start on, with probability of a wrong one anywhere at most ``level``.

    ``chains`` hold p-values in an order that was fixed before the data. Every chain tests at its part of ``level`` and
    stops at the first that fails; the part of a chain that is through goes to the others (chains of one: Holm's
    procedure).
    """
    counts = [0] * len(chains)
    parts = [level / len(chains) if chains else 0.0] * len(chains)
    moved = True
    while moved:
        moved = False
        for number, chain in enumerate(chains):
            while counts[number] < len(chain) and chain[counts[number]] <= parts[number]:
                counts[number] += 1
                moved = True
        through = [i for i, chain in enumerate(chains) if counts[i] == len(chain)]
        others = [i for i in range(len(chains)) if i not in through]
        if others:
            freed = sum(parts[i] for i in through)
            for i in through:
                parts[i] = 0.0
            for i in others:
                parts[i] += freed / len(others)
    return counts


def questions_needed(losses: ArrayLike, max_loss: float, level: float) -> int | None:
    """How many questions with losses like these it takes to certify ``max_loss`` at ``level`` four times in five.

    Draws from the losses with replacement. None: the mean of the losses is not below ``max_loss``, or it takes more
    than 20,000.
    """
    x = np.asarray(losses, dtype=np.float64)
    if not len(x) or x.mean() >= max_loss:
        return None
    generator = np.random.default_rng(0)

    def enough(n: int) -> bool:
        drawn = generator.choice(x, size=(DRAWS, n))
        return bool((p_values(drawn, max_loss, level) <= level).mean() >= POWER)

    high = 8
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
