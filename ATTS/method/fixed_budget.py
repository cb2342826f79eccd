"""A fixed number of take-overs a question and turn: by rank behind a barrier, or by lot without one.

The two controls of ATTS. Ranking needs all live samples of a question to meet once a turn; drawing
lots needs nobody, and no score.
"""

import asyncio
import random
from dataclasses import replace
from typing import Protocol

from ATTS.method.chain import Chain, Reader
from ATTS.method.types import Event, ExitStatus, Stage


class Place(Protocol):
    """One sample's part in its question's budget."""

    async def granted(self, chain: Chain, target: Reader, turn: int, drafted: Event) -> bool:
        """Whether the target goes on behind what was ``drafted`` at this turn."""
        ...

    def leave(self) -> None:
        """The sample has ended, whatever way."""
        ...


async def fixed_budget(chain: Chain, draft: Reader, target: Reader, place: Place, turns: int) -> ExitStatus:
    """Draft, ask for the target, until an answer stands in the chain or the turns run out.

    A chunk that answers needs no target. A text that the draft ended without an answer is over unless
    the target goes on. Raises SampleError.
    """
    try:
        for turn in range(turns):
            drafted = await chain.extend(draft, turn, Stage.DRAFT)
            if chain.answer is not None:
                return ExitStatus.ANSWERED
            stuck = drafted.ended or not drafted.output
            if await place.granted(chain, target, turn, drafted):
                continued = await chain.extend(target, turn, Stage.CONTINUE)
                if chain.answer is not None:
                    return ExitStatus.ANSWERED
                if continued.ended or not continued.output:
                    return ExitStatus.TARGET_ENDED
            elif stuck:
                return ExitStatus.DRAFT_ENDED if drafted.output else ExitStatus.EMPTY_DRAFT
        return ExitStatus.TURN_LIMIT
    finally:
        place.leave()


class Barrier:
    """Where the samples of one question meet once a turn. The ``budget`` of them with the highest
    perplexity are granted; a text that its author ended counts as the worst."""

    def __init__(self, samples: int, budget: int) -> None:
        self._live, self._budget = samples, budget
        self._scores: list[tuple[float, asyncio.Future[tuple[float, bool]]]] = []

    async def granted(self, chain: Chain, target: Reader, turn: int, drafted: Event) -> bool:
        if drafted.ended or not drafted.output:
            _, chosen = await self._meet(float("inf"))
            return chosen
        scored = await chain.score(target, turn)
        assert scored.ppl is not None
        rank, chosen = await self._meet(scored.ppl)
        chain.history[-1] = replace(scored, percentile=rank, rejected=chosen)
        return chosen

    async def _meet(self, score: float) -> tuple[float, bool]:
        """The share of the live samples that score lower, and whether this one is chosen."""
        mine: asyncio.Future[tuple[float, bool]] = asyncio.get_running_loop().create_future()
        self._scores.append((score, mine))
        self._decide_if_complete()
        return await mine

    def leave(self) -> None:
        self._live -= 1
        self._decide_if_complete()

    def _decide_if_complete(self) -> None:
        self._scores = [(score, future) for score, future in self._scores if not future.cancelled()]
        if not self._scores or len(self._scores) < self._live:
            return
        scores, self._scores = sorted(self._scores, key=lambda met: -met[0]), []
        for rank, (score, future) in enumerate(scores):
            below = sum(other < score for other, _ in scores) / len(scores)
            future.set_result((below, rank < self._budget))


class Lots:
    """For every turn a set of ``budget`` of a question's ``samples``, drawn by ``seed`` before any begins."""

    def __init__(self, samples: int, budget: int, seed: str) -> None:
        self._samples, self._budget, self._seed = samples, min(budget, samples), seed
        self._next = 0

    def place(self) -> "Lot":
        """That of the next sample; a sample that is done again gets a new one."""
        self._next += 1
        return Lot(self, (self._next - 1) % self._samples)

    def drawn(self, turn: int) -> list[int]:
        return random.Random(f"{self._seed}-{turn}").sample(range(self._samples), self._budget)


class Lot:
    """One sample's place among the lots. Places of samples that have ended are not passed on."""

    def __init__(self, lots: Lots, number: int) -> None:
        self._lots, self._number = lots, number

    async def granted(self, chain: Chain, target: Reader, turn: int, drafted: Event) -> bool:  # noqa: ARG002
        return self._number in self._lots.drawn(turn)

    def leave(self) -> None:
        pass
