"""Calibration on the way: a memory bank of scores for each turn, and a level that follows the rate."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ATTS.method.conformal.decision import Draws, Verdict
from ATTS.method.conformal.sets import Scores

_verdict = tuple.__new__  # a third of the time that the class's own __new__ takes


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


class SortedScores:
    """Sorted scores in blocks, so that adding one moves a block and not all of them."""

    BLOCK = 1024  # a full block is split at twice this

    __slots__ = ("_blocks", "_last", "_sizes", "count")

    def __init__(self, scores: Iterable[float] = ()) -> None:
        ordered = sorted(scores)
        self.count = len(ordered)
        self._blocks = [ordered[i : i + self.BLOCK] for i in range(0, len(ordered), self.BLOCK)] or [[]]
        self._sizes = list(map(len, self._blocks))
        self._last = [block[-1] for block in self._blocks] if ordered else []  # of each block its largest

    def rank_and_add(self, score: float) -> tuple[int, int]:
        """How many scores are below and how many equal, before ``score`` is added."""
        at = bisect_left(self._last, score)
        if at == len(self._last):  # larger than all
            at = len(self._blocks) - 1
            block = self._blocks[at]
            below, equal = self.count, 0
            block.append(score)
            self._last[at:] = [score]
        else:
            block = self._blocks[at]
            place = bisect_left(block, score)
            below = sum(self._sizes[:at]) + place if at else place
            equal = self._equal(at, place, score) if block[place] == score else 0
            block.insert(place, score)
        self.count += 1
        self._sizes[at] += 1
        if len(block) > 2 * self.BLOCK:
            self._split(at)
        return below, equal

    def remove(self, score: float) -> None:
        """Takes out one score that is there."""
        at = bisect_left(self._last, score)
        block = self._blocks[at]
        del block[bisect_left(block, score)]
        self.count -= 1
        self._sizes[at] -= 1
        if block:
            self._last[at] = block[-1]
        else:
            del self._last[at]
            if len(self._blocks) > 1:
                del self._blocks[at], self._sizes[at]

    def _equal(self, at: int, place: int, score: float) -> int:
        block = self._blocks[at]
        equal = bisect_right(block, score, place) - place
        while block[-1] == score and at + 1 < len(self._blocks):  # ties may go on in the next block
            at += 1
            block = self._blocks[at]
            equal += bisect_right(block, score)
        return equal

    def _split(self, at: int) -> None:
        block = self._blocks[at]
        self._blocks[at : at + 1] = [block[: self.BLOCK], block[self.BLOCK :]]
        self._sizes[at : at + 1] = [self.BLOCK, len(block) - self.BLOCK]
        self._last.insert(at, self._blocks[at][-1])


class Online:
    """The paper's memory bank, one a turn: every score is judged by those before it and then joins them.

    Smoothed p-values make the rate exact from the first decision on if the scores of a turn are
    exchangeable; the first decision of a turn, without any score, is a coin of that rate. ``window``
    bounds a bank to its newest scores; 0 = no bound. With ``gamma`` > 0 the level follows the rate
    (adaptive conformal inference, Gibbs and Candes, arXiv 2106.00170): after each decision it moves by
    ``gamma (rate - rejected)``, which holds the rate whatever the scores do (:func:`gamma_for`).
    """

    def __init__(self, rejection_rate: float, seed: int = 0, window: int = 0, gamma: float = 0.0) -> None:
        if not 0 < rejection_rate < 1:
            raise ValueError(f"the rejection rate must lie between 0 and 1, got {rejection_rate}")
        self.rate, self.window, self.gamma = rejection_rate, window, gamma
        self.level = rejection_rate
        self.draws = Draws(seed)
        self._banks: dict[int, SortedScores] = {}
        self._arrived: dict[int, deque[float]] = {}  # the same scores in the order of their coming, if bounded

    @property
    def sizes(self) -> dict[int, int]:
        """Scores in the bank of each turn."""
        return {turn: bank.count for turn, bank in sorted(self._banks.items())}

    def __call__(self, score: float, turn: int) -> Verdict:
        bank = self._banks.get(turn)
        if bank is None:
            bank = self._banks[turn] = SortedScores()
        n = bank.count
        below, equal = bank.rank_and_add(score)
        draws = self.draws
        order = draws.count
        draws.count = order + 1
        draw = 1.0 - (draws.start + order * draws.STEP) % 1.0  # Draws.next, written out: it is called a lot
        p = (n - below - equal + draw * (1 + equal)) / (n + 1)  # forms.smoothed_p_value
        level = self.level
        rejected = p <= level
        if self.gamma:
            self.level = level + self.gamma * (self.rate - rejected)
        if self.window:
            self._forget(turn, bank, score)
        return _verdict(Verdict, (below / n if n else None, rejected, p, level, n, order))

    def start(self, scores: Scores, turns: ArrayLike | None = None) -> None:
        """Fills the banks from a calibration array, whose scores are of first turns if it doesn't tell."""
        flat = np.asarray(scores, dtype=np.float64)
        if flat.ndim != 1:
            raise ValueError("a per-question array can't start memory banks, which all questions share")
        of = np.zeros(len(flat), dtype=int) if turns is None else np.asarray(turns)
        for score, turn in zip(flat.tolist(), of.tolist(), strict=True):
            self.learn(score, turn)

    def learn(self, score: float, turn: int, rejected: bool | None = None) -> None:
        """Takes in a score that was judged before: of an earlier run (``rejected`` moves the level), or of
        a calibration array."""
        bank = self._banks.setdefault(turn, SortedScores())
        bank.rank_and_add(score)
        if self.window:
            self._forget(turn, bank, score)
        if rejected is not None and self.gamma:
            self.level += self.gamma * (self.rate - rejected)

    def _forget(self, turn: int, bank: SortedScores, score: float) -> None:
        arrived = self._arrived.setdefault(turn, deque())
        arrived.append(score)
        if len(arrived) > self.window:
            bank.remove(arrived.popleft())
