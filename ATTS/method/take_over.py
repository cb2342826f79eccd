"""Who decides that the target takes over: the one degree of freedom of the loop."""

from typing import Protocol

from ATTS.method.chain import Chain, Reader
from ATTS.method.conformal import Judge
from ATTS.method.types import Event


class TakeOver(Protocol):
    """One sample's rule. The loop asks it after every drafted chunk that holds no answer."""

    async def begin(self, turn: int) -> None:  # noqa: ARG002
        """Returns when the draft may write the chunk of ``turn``."""
        return

    async def decide(self, chain: Chain, target: Reader, turn: int, drafted: Event) -> bool:
        """Whether the target continues the chain behind the chunk ``drafted``, which the rule may have
        scored by ``target``. Raises SampleError."""
        ...

    def leave(self) -> None:
        """The sample has ended, whatever way."""
        return


class ByScore(TakeOver):
    """ATTS: the chunk's score is compared with calibration scores on the spot.

    A text that the draft ended without an answer goes to the target unscored.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def decide(self, chain: Chain, target: Reader, turn: int, drafted: Event) -> bool:
        return drafted.final or bool((await chain.score(target, turn, self._judge)).rejected)
