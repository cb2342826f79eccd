"""A fixed number or share of take-overs a question and turn: by rank behind a barrier, or drawn at random without one.

The two controls of ATTS. Ranking needs all live samples of a question to meet once a turn; drawing
needs nobody, and no score.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from ATTS.method.barrier import Barrier
from ATTS.method.chain import Chain, ModelView
from ATTS.method.take_over import Ruling, TakeOver
from ATTS.method.types import Event

Budget = Callable[[int, int], int]  # (turn, samples of the question) -> how many of them are taken over


def fixed(number: int) -> Budget:
    """The same number at every turn."""
    return lambda turn, samples: min(number, samples)  # noqa: ARG005


def share(rate: float, seed: str) -> Budget:
    """The share ``rate``, in whole samples: rounded up or down by a draw that makes it right on the average."""

    def whole(turn: int, samples: int) -> int:
        below = int(rate * samples)
        return below + (random.Random(f"{seed}-{turn}-share").random() < rate * samples - below)

    return whole


class RankedBudget:
    """Of one question's live samples, those with the highest scores are taken over, as many as the ``budget`` says;
    a text that its author ended counts as the worst."""

    def __init__(self, samples: int, budget: Budget) -> None:
        self._barrier, self._budget = Barrier(samples), budget
        self._scores: dict[int, dict[int, float]] = defaultdict(dict)  # by turn and sample
        self._ranked: dict[int, Mapping[int, tuple[float, bool]]] = {}

    def sample(self, number: int) -> "Ranked":  # noqa: ARG002 - ranks need no number
        """The rule of one more sample of the question."""
        return Ranked(self, self._barrier.join())

    async def rank(self, sample: int, turn: int, score: float) -> tuple[float, bool]:
        """The share of the turn's samples that score lower, and whether this one is among the budget."""
        self._scores[turn][sample] = score
        await self._barrier.arrive(sample, turn)
        if turn not in self._ranked:  # the first to go on ranks for all: nobody has left since the last one came
            scores = self._scores.pop(turn)
            worst = sorted(scores, key=lambda one: -scores[one])[: self._budget(turn, len(scores))]
            below = {one: sum(other < scores[one] for other in scores.values()) / len(scores) for one in scores}
            self._ranked[turn] = {one: (below[one], one in worst) for one in scores}
        return self._ranked[turn][sample]

    def leave(self, sample: int) -> None:
        """A sample has ended; the others don't wait for it any more."""
        for scores in self._scores.values():
            scores.pop(sample, None)
        self._barrier.leave(sample)


class Ranked(TakeOver):
    """One sample of a :class:`RankedBudget`."""

    def __init__(self, budget: RankedBudget, number: int) -> None:
        self._budget, self._number = budget, number

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        """Waits until every live sample of the question has its score of the turn, then ranks them."""
        if drafted.final:
            _, chosen = await self._budget.rank(self._number, turn, float("inf"))
            return Ruling.CONTINUE if chosen else Ruling.ACCEPT
        scored = await chain.score(target, turn)
        assert scored.ppl is not None
        below, chosen = await self._budget.rank(self._number, turn, scored.ppl)
        chain.history[-1] = replace(scored, percentile=below, rejected=chosen)
        return Ruling.CONTINUE if chosen else Ruling.ACCEPT

    def leave(self) -> None:
        """See TakeOver."""
        self._budget.leave(self._number)


class RandomBudget:
    """For every turn a set of a question's ``samples``, as many as the ``budget`` says, drawn by ``seed``."""

    def __init__(self, samples: int, budget: Budget, seed: str) -> None:
        self._samples, self._budget, self._seed = samples, budget, seed

    def sample(self, number: int) -> "Drawn":
        """The rule of the question's sample ``number``, from 0: the same when the sample is done again."""
        return Drawn(self, number)

    def drawn(self, turn: int) -> list[int]:
        """The samples drawn for a turn, by their numbers."""
        number = self._budget(turn, self._samples)
        return random.Random(f"{self._seed}-{turn}").sample(range(self._samples), number)


class Drawn(TakeOver):
    """One sample of a :class:`RandomBudget`. What was drawn for samples that have ended is not passed on."""

    def __init__(self, budget: RandomBudget, number: int) -> None:
        self._budget, self._number = budget, number

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:  # noqa: ARG002
        """Rejects the chunk if its sample was drawn for this turn; its score decides nothing."""
        return Ruling.CONTINUE if self._number in self._budget.drawn(turn) else Ruling.ACCEPT
