"""What a decision is, who makes one, and chance."""

import random
from collections import Counter
from typing import NamedTuple, Protocol


class Decision(NamedTuple):
    """One decision. What is None does not apply: the published rule knows the first two only."""

    percentile: float | None  # #{s_i < s} / n; None without any calibration score
    rejected: bool
    p_value: float | None = None
    level: float | None = None  # the p-value up to which a chunk was rejected
    scores: int | None = None  # calibration scores that the decision rests on
    order: int | None = None  # the decision's number in the run, for rules that depend on earlier ones

    @property
    def details(self) -> dict[str, float]:
        """Those of the last four that apply."""
        return {name: value for name, value in zip(self._fields[2:], self[2:], strict=True) if value is not None}


class RejectionRule(Protocol):
    """Decides on the spot, without any other candidate of the turn."""

    def __call__(self, score: float, turn: int) -> Decision: ...


class Coin:
    """Rejects at random: the control that shows what the score is worth. Its percentile is the draw.

    One a sample, whose ``seed`` is its own. A draw follows from seed, turn and attempt at that turn alone: samples
    that are done again are decided as they were, whatever was decided in between.
    """

    def __init__(self, rejection_rate: float, seed: str) -> None:
        self._rate, self._seed = rejection_rate, seed
        self._asked: Counter[int] = Counter()  # by turn: a chunk that was rejected may be drafted again

    def __call__(self, score: float, turn: int) -> Decision:  # noqa: ARG002 - the score is what it ignores
        attempt = self._asked[turn]
        self._asked[turn] += 1
        draw = random.Random(f"{self._seed}-{turn}" + (f"-{attempt}" if attempt else "")).random()
        return Decision(draw, draw >= 1 - self._rate)


STEP = (5**0.5 - 1) / 2  # 1 / phi


class Draws:
    """Numbers the decisions of a run and draws a uniform number for each.

    The draw of decision k is ``1 - frac(u_0 + k / phi)``, with u_0 from the seed and phi the golden
    ratio (a Kronecker sequence): each is uniform on (0, 1], all together fill it evenly, which
    independent draws do not, and a resumed run draws on where it stopped.
    """

    def __init__(self, seed: int) -> None:
        self._first = random.Random(seed).random()
        self.decisions = 0  # made so far

    def next(self) -> float:
        """The draw of the next decision."""
        draw = 1.0 - (self._first + self.decisions * STEP) % 1.0
        self.decisions += 1
        return draw
