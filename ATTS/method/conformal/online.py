"""Calibration on the way: a memory bank of scores for each turn, and levels that follow the rate."""

from collections import defaultdict, deque

import numpy as np
from numpy.typing import ArrayLike
from sortedcontainers import SortedList

from ATTS.method.conformal.decision import Decision, Draws
from ATTS.method.conformal.forms import smoothed_p_value
from ATTS.method.conformal.sets import Scores


def gamma_for(window: int, within: float) -> float:
    """The smallest step that keeps every ``window`` decisions within ``within`` of the asked rate.

    The level moves by gamma (rate - rejected), and stays in (-gamma (1 - rate), 1 + gamma rate), since
    at a level of 0 nothing is rejected and at 1 everything: over W decisions in a row the rate misses
    by at most ``(1 + gamma) / (gamma W)``, whatever the scores (Gibbs and Candes, arXiv 2106.00170,
    proposition 4.1, there from the start of the sequence).
    """
    if window * within <= 1:
        raise ValueError(f"no step keeps {window} decisions within {within:g}")
    return 1 / (window * within - 1)


GAMMA = gamma_for(400, 0.05)


class Online(Draws):
    """The paper's memory bank, one a turn: every score is judged by those before it and then joins them.

    Smoothed p-values make the rate exact from the first decision on if the scores of a turn are
    exchangeable; the first decision of a turn, without any score, is a coin of that rate. ``window``
    bounds a bank to its newest scores; 0 = no bound. With ``gamma`` > 0 the level follows the rate
    (adaptive conformal inference, Gibbs and Candes, arXiv 2106.00170): after each decision it moves by
    ``gamma (rate - rejected)``, which holds the rate whatever the scores do (:func:`gamma_for`). ``by_turn``:
    a level for each turn, which holds the rate of that turn; else one for all of them together.
    """

    def __init__(
        self, rejection_rate: float, seed: int = 0, window: int = 0, gamma: float = 0.0, by_turn: bool = False
    ) -> None:
        if not 0 <= rejection_rate <= 1:
            raise ValueError(f"the rejection rate must lie between 0 and 1, got {rejection_rate}")
        super().__init__(seed)
        self.rate, self.window, self.gamma = rejection_rate, window, gamma
        self._by_turn = by_turn
        self._levels: dict[int, float] = defaultdict(lambda: rejection_rate)
        self._banks: dict[int, SortedList] = defaultdict(SortedList)  # by turn
        self._arrived: dict[int, deque[float]] = defaultdict(deque)  # the same scores as they came, if bounded

    @property
    def sizes(self) -> dict[int, int]:
        """Scores in the bank of each turn."""
        return {turn: len(bank) for turn, bank in sorted(self._banks.items())}

    @property
    def levels(self) -> dict[int, float]:
        """The level of each turn that has had a score."""
        return {turn: self._levels[self._of(turn)] for turn in sorted(self._banks)}

    def __call__(self, score: float, turn: int) -> Decision:
        bank = self._banks[turn]
        n, below = len(bank), bank.bisect_left(score)
        equal = bank.bisect_right(score) - below
        order, level = self.decisions, self._levels[self._of(turn)]
        p = smoothed_p_value(below, equal, n, self.next())
        self.learn(score, turn, p <= level)
        return Decision(below / n if n else None, p <= level, p, level, n, order)

    def start(self, scores: Scores, turns: ArrayLike | None = None) -> None:
        """Fills the banks from a calibration array, whose scores are of first turns if it doesn't tell."""
        flat = np.asarray(scores, dtype=np.float64)
        if flat.ndim != 1:
            raise ValueError("a per-question array can't start memory banks, which all questions share")
        of = np.zeros(len(flat), dtype=int) if turns is None else np.asarray(turns)
        for score, turn in zip(flat.tolist(), of.tolist(), strict=True):
            self.learn(score, turn)

    def learn(self, score: float, turn: int, rejected: bool | None = None) -> None:
        """Takes in a score: one just judged or of an earlier run (``rejected`` moves the level), or one of
        a calibration array."""
        bank = self._banks[turn]
        bank.add(score)
        if self.window:
            arrived = self._arrived[turn]
            arrived.append(score)
            if len(arrived) > self.window:
                bank.remove(arrived.popleft())
        if rejected is not None:
            self._levels[self._of(turn)] += self.gamma * (self.rate - rejected)

    def _of(self, turn: int) -> int:
        """Whose level counts at a turn: its own, or the one of all turns."""
        return turn if self._by_turn else -1
