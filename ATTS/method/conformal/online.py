"""Calibration on the way: a memory bank of scores for each turn, and levels that follow the rate."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ATTS.method.conformal.decision import STEP, Decision, Draws, new
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


class SortedScores:
    """Sorted scores in blocks, so that adding one moves a block and not all of them."""

    MOST = 2048  # in a block; one that grows beyond is cut in two

    __slots__ = ("_last", "_sizes", "blocks")

    def __init__(self, scores: Iterable[float] = ()) -> None:
        ordered, half = sorted(scores), max(1, self.MOST // 2)
        self.blocks = [ordered[i : i + half] for i in range(0, len(ordered), half)] or [[]]
        self._index()

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def rank_and_add(self, score: float) -> tuple[int, int, int]:
        """How many scores are below, how many equal and how many there are, before ``score`` is added."""
        several = len(self.blocks) > 1
        at = min(bisect_left(self._last, score), len(self.blocks) - 1) if several else 0
        block = self.blocks[at]
        place = bisect_left(block, score)
        below, n = (sum(self._sizes[:at]) + place, sum(self._sizes)) if several else (place, len(block))
        equal = self._equal(at, place, score) if place < len(block) and block[place] == score else 0
        block.insert(place, score)
        if len(block) > self.MOST:
            half = len(block) // 2
            self.blocks[at : at + 1] = [block[:half], block[half:]]
            self._index()
        elif several:
            self._sizes[at] += 1
            self._last[at] = block[-1]
        return below, equal, n

    def remove(self, score: float) -> None:
        """Takes out one score that is there."""
        several = len(self.blocks) > 1
        at = bisect_left(self._last, score) if several else 0
        block = self.blocks[at]
        del block[bisect_left(block, score)]
        if several and block:
            self._sizes[at] -= 1
            self._last[at] = block[-1]
        elif several:
            del self.blocks[at]
            self._index()

    def _equal(self, at: int, place: int, score: float) -> int:
        block = self.blocks[at]
        equal = bisect_right(block, score, place) - place
        while block[-1] == score and at + 1 < len(self.blocks):  # ties may go on in the next block
            at += 1
            block = self.blocks[at]
            equal += bisect_right(block, score)
        return equal

    def _index(self) -> None:
        """Of each block its size and its largest score; not kept while there is but one."""
        if len(self.blocks) > 1:
            self._sizes = list(map(len, self.blocks))
            self._last = [block[-1] for block in self.blocks]


class Level:
    """The p-value up to which chunks are rejected, of one turn or of all turns."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value


class Online:
    """The paper's memory bank, one a turn: every score is judged by those before it and then joins them.

    Smoothed p-values make the rate exact from the first decision on if the scores of a turn are
    exchangeable; the first decision of a turn, without any score, is a coin of that rate. ``window``
    bounds a bank to its newest scores; 0 = no bound. With ``gamma`` > 0 the level follows the rate
    (adaptive conformal inference, Gibbs and Candes, arXiv 2106.00170): after each decision it moves by
    ``gamma (rate - rejected)``, which holds the rate whatever the scores do (:func:`gamma_for`). ``by_turn``:
    a level for each turn, which holds the rate of that turn; else one for all of them together.
    """

    __slots__ = ("_arrived", "_banks", "_by_turn", "_level", "_start", "decisions", "gamma", "rate", "window")

    def __init__(
        self, rejection_rate: float, seed: int = 0, window: int = 0, gamma: float = 0.0, by_turn: bool = False
    ) -> None:
        if not 0 <= rejection_rate <= 1:
            raise ValueError(f"the rejection rate must lie between 0 and 1, got {rejection_rate}")
        self.rate, self.window, self.gamma = rejection_rate, window, gamma
        self.decisions = 0  # made so far
        self._start = Draws(seed).start
        self._by_turn = by_turn
        self._level = Level(rejection_rate)  # of all turns, unless each has its own
        self._banks: dict[int, tuple[SortedScores, Level]] = {}
        self._arrived: dict[int, deque[float]] = {}  # the same scores in the order of their coming, if bounded

    @property
    def sizes(self) -> dict[int, int]:
        """Scores in the bank of each turn."""
        return {turn: len(bank) for turn, (bank, _) in sorted(self._banks.items())}

    @property
    def levels(self) -> dict[int, float]:
        """The level of each turn that has had a score."""
        return {turn: level.value for turn, (_, level) in sorted(self._banks.items())}

    def __call__(self, score: float, turn: int) -> Decision:
        # Calls are most of what a decision costs, so three are written out: the rank in a single block,
        # Draws.next and forms.smoothed_p_value (scripts/bench_decision.sh; 1.0 us with them, 0.9 without).
        try:
            bank, follows = self._banks[turn]
        except KeyError:
            bank, follows = self._begin(turn)
        blocks = bank.blocks
        block = blocks[0]
        n = len(block)
        if len(blocks) == 1 and n < SortedScores.MOST:
            below = bisect_left(block, score)
            equal = bisect_right(block, score, below) - below if below < n and block[below] == score else 0
            block.insert(below, score)
        else:
            below, equal, n = bank.rank_and_add(score)
        order = self.decisions
        self.decisions = order + 1
        level = follows.value
        draw = 1.0 - (self._start + order * STEP) % 1.0
        p = (n - below - equal + draw * (1 + equal)) / (n + 1)
        rejected = p <= level
        if self.gamma:
            follows.value = level + self.gamma * (self.rate - rejected)
        if self.window:
            self._forget(turn, bank, score)
        return new(Decision, (below / n if n else None, rejected, p, level, n, order))

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
        bank, level = self._banks.get(turn) or self._begin(turn)
        bank.rank_and_add(score)
        if self.window:
            self._forget(turn, bank, score)
        if rejected is not None and self.gamma:
            level.value += self.gamma * (self.rate - rejected)

    def _begin(self, turn: int) -> tuple[SortedScores, Level]:
        level = Level(self.rate) if self._by_turn else self._level
        self._banks[turn] = SortedScores(), level
        return self._banks[turn]

    def _forget(self, turn: int, bank: SortedScores, score: float) -> None:
        arrived = self._arrived.setdefault(turn, deque())
        arrived.append(score)
        if len(arrived) > self.window:
            bank.remove(arrived.popleft())
