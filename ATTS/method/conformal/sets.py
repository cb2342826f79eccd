"""Calibration sets made beforehand: for all chunks, for one question or group, or for each turn."""

import bisect
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ATTS.method.conformal.decision import Decision, Draws
from ATTS.method.conformal.forms import Form, p_value, smallest_calibration_set, smoothed_p_value, threshold

Scores = Sequence[float] | NDArray[np.float64]


class CalibrationSet:
    """Sorted calibration scores of which a share ``rejection_rate`` is to count as rejected.

    Raises ValueError if the scores can't support the rate: with n scores a new exchangeable one
    can be told to be among the worst ``rate`` only if ``n >= 1 / rate - 1``. At a rate of 0 no
    score is rejected, at 1 every one. The smoothed form needs ``draws``.
    """

    def __init__(
        self, scores: Scores, rejection_rate: float, form: Form = "published", draws: Draws | None = None
    ) -> None:
        if not 0 <= rejection_rate <= 1:
            raise ValueError(f"the rejection rate must lie between 0 and 1, got {rejection_rate}")
        self._sorted = np.sort(np.asarray(scores, dtype=np.float64)).tolist()
        self._rate, self._form, self._draws = rejection_rate, form, draws
        needed = smallest_calibration_set(rejection_rate)
        if len(self._sorted) < needed:
            raise ValueError(
                f"{len(self._sorted)} calibration scores are too few for a rejection rate of"
                f" {rejection_rate:g}: at least {needed} are needed"
            )
        if form == "smoothed":
            if draws is None:
                raise ValueError("smoothed p-values need draws")
        else:
            self.threshold = threshold(len(self._sorted), rejection_rate, form)

    def __len__(self) -> int:
        return len(self._sorted)

    def __call__(self, score: float, turn: int = 0) -> Decision:  # noqa: ARG002 - one set for every turn
        n = len(self._sorted)
        below = bisect.bisect_left(self._sorted, score)
        if self._form == "published":
            return Decision(below / n, below >= self.threshold)
        if self._form == "bounded":
            return Decision(below / n, below >= self.threshold, p_value(below, n), self._rate, n)
        assert self._draws is not None
        equal = bisect.bisect_right(self._sorted, score, below) - below
        order = self._draws.decisions
        p = smoothed_p_value(below, equal, n, self._draws.next())
        return Decision(below / n, p <= self._rate, p, self._rate, n, order)


class PerTurn:
    """A calibration set for each turn (Mondrian conformal prediction: Vovk et al. 2005, section 4.5).

    ``questions`` names the question of each score; None: all are of different ones. The scores of one
    question agree, so a turn counts what its scores are worth (:func:`worth`): one with fewer than ``FEWEST``
    shares one set with all turns behind it, and so do turns that were never calibrated: what is left
    there are the few hard questions, and sets of a handful would promise nothing. Raises ValueError if the
    first turn has too few, or its scores can't support the rate.
    """

    FEWEST = 20  # independent scores: the realised rate's standard deviation is then 0.1 at a rate of 0.4

    def __init__(
        self,
        by_turn: Mapping[int, Scores],
        rejection_rate: float,
        form: Form = "published",
        draws: Draws | None = None,
        questions: Mapping[int, Sequence[int] | NDArray[np.signedinteger]] | None = None,
    ) -> None:
        turns = range(max(by_turn, default=-1) + 1)
        scores = [np.asarray(by_turn.get(turn, ()), dtype=np.float64) for turn in turns]
        if questions is None:
            firsts = np.cumsum([0, *map(len, scores)])
            of = [first + np.arange(len(of_turn)) for first, of_turn in zip(firsts, scores, strict=False)]
        else:
            of = [np.asarray(questions.get(turn, ()), dtype=np.int_) for turn in turns]
        fewest = self.fewest(rejection_rate)
        own = next((turn for turn in turns if worth(of[turn]) < fewest), len(scores))
        if own == 0:
            raise ValueError(
                f"{len(scores[0]) if scores else 0} calibration scores are too few to calibrate by turn: those of the"
                f" first turn are worth {worth(of[0]) if of else 0:.3g} independent ones, at least {fewest} are needed"
            )
        if own < len(scores) and worth(np.concatenate(of[own:])) < fewest:
            own -= 1  # too few even together
        shared = scores[own:] or scores[-1:]
        self.own = own
        self._sets = [
            CalibrationSet(of_turn, rejection_rate, form, draws) for of_turn in (*scores[:own], np.concatenate(shared))
        ]

    @classmethod
    def fewest(cls, rejection_rate: float) -> int:
        """What the first turn's scores must be worth; at a rate of 0 or 1 scores decide nothing."""
        return max(cls.FEWEST, smallest_calibration_set(rejection_rate)) if 0 < rejection_rate < 1 else 1

    @classmethod
    def suffices(cls, questions: int, samples: int, rejection_rate: float) -> bool:
        """Whether ``samples`` scores of each of ``questions`` questions can be worth enough."""
        return worth(np.repeat(np.arange(questions), samples)) >= cls.fewest(rejection_rate)

    def of(self, turn: int) -> CalibrationSet:
        """The set that decides at a turn."""
        return self._sets[min(turn, len(self._sets) - 1)]

    def __call__(self, score: float, turn: int) -> Decision:
        return self.of(turn)(score, turn)


CORRELATION = 0.6  # of the scores of one question: 0.57 - 0.61 in recorded runs (docs/GUARANTEES.md)


def worth(questions: Sequence[int] | NDArray[np.signedinteger]) -> float:
    """As how many independent scores those of ``questions`` count, one entry a score: n / (1 + (m - 1) CORRELATION),
    m the size of the question that a score belongs to, on average (Kish, Survey Sampling, 1965)."""
    sizes = np.unique(questions, return_counts=True)[1]
    n = float(sizes.sum())
    return n / (1 + (float((sizes**2).sum()) / n - 1) * CORRELATION) if n else 0.0
