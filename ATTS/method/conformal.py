"""The decision: a chunk's score against calibration scores.

Scores are perplexities under the target; higher is worse. The published rule is used: percentile
``#{s_i < s} / n``, and the target goes on iff it reaches ``1 - rejection rate``.
"""

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Verdict:
    percentile: float
    rejected: bool


class Judge(Protocol):
    """Decides on the spot, without any other candidate of the turn."""

    def __call__(self, score: float) -> Verdict: ...


class CalibrationSet:
    """Sorted calibration scores of which a share ``rejection_rate`` is to count as rejected.

    Raises ValueError if the scores can't support the rate: with n scores a new exchangeable one
    can be told to be among the worst ``rate`` only if ``n >= 1 / rate - 1`` (the smallest
    conformal p-value is 1 / (n + 1)).
    """

    def __init__(self, scores: Sequence[float] | NDArray[np.float64], rejection_rate: float) -> None:
        if not 0 < rejection_rate < 1:
            raise ValueError(f"the rejection rate must lie between 0 and 1, got {rejection_rate}")
        self._sorted = np.sort(np.asarray(scores, dtype=np.float64)).tolist()
        needed = smallest_calibration_set(rejection_rate)
        if len(self._sorted) < needed:
            raise ValueError(
                f"{len(self._sorted)} calibration scores are too few for a rejection rate of"
                f" {rejection_rate:g}: at least {needed} are needed"
            )
        # In counts rather than fractions: 1 - 0.7 is not 0.3 in binary.
        self._threshold = math.ceil((1 - rejection_rate) * len(self._sorted) - 1e-9)

    def __len__(self) -> int:
        return len(self._sorted)

    def __call__(self, score: float) -> Verdict:
        below = bisect.bisect_left(self._sorted, score)
        return Verdict(below / len(self._sorted), below >= self._threshold)


class Coin:
    """Rejects at random: the control that shows what the score is worth. Its percentile is the draw."""

    def __init__(self, rejection_rate: float, seed: int) -> None:
        self._rate = rejection_rate
        self._random = random.Random(seed)

    def __call__(self, score: float) -> Verdict:  # noqa: ARG002 - it ignores the score, that is its point
        draw = self._random.random()
        return Verdict(draw, draw >= 1 - self._rate)


def smallest_calibration_set(rejection_rate: float) -> int:
    """The fewest scores that can support ``rejection_rate``."""
    return max(1, math.ceil(1 / rejection_rate - 1 - 1e-9))
