"""The barrier that ATTS drops, put back for comparison: a question's samples go turn by turn together.

Ranking a turn's candidates needs all of their scores, so nobody continues before the last one is
scored, and nobody drafts before the last one has been continued.
"""

from ATTS.method.barrier import Barrier
from ATTS.method.chain import Chain, ModelView
from ATTS.method.take_over import Ruling, TakeOver
from ATTS.method.types import Event


class Lockstep(TakeOver):
    """``rule`` behind the ``barrier`` of a question, which is met twice a turn."""

    def __init__(self, rule: TakeOver, barrier: Barrier) -> None:
        self._rule, self._barrier, self._member = rule, barrier, barrier.join()
        self.rules_on_answers = rule.rules_on_answers

    async def begin(self, turn: int) -> None:
        """See TakeOver."""
        await self._rule.begin(turn)
        await self._barrier.arrive(self._member, 2 * turn)

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        """See TakeOver: waits for the turn's last score."""
        ruling = await self._rule.decide(chain, target, turn, drafted)
        if not drafted.final:
            await self._barrier.arrive(self._member, 2 * turn + 1)
        return ruling

    def leave(self) -> None:
        """See TakeOver."""
        self._barrier.leave(self._member)
