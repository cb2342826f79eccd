"""Who decides about a drafted chunk, and what becomes of it: the one degree of freedom of the loop."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import RejectionRule
from ATTS.method.types import Event

OnRejection = Literal["continue", "resample"]


class Ruling(Enum):
    """What becomes of a drafted chunk."""

    ACCEPT = "accept"  # it stays, and the draft continues
    CONTINUE = "continue"  # it stays, and the target writes behind it, as in the paper
    REPLACE = "replace"  # it goes, and the target writes in its place
    REDRAFT = "redraft"  # it goes, and the draft writes again in its place

    @property
    def discards(self) -> bool:
        """Whether the rejected chunk leaves the text."""
        return self in (Ruling.REPLACE, Ruling.REDRAFT)


class TakeOver(Protocol):
    """One sample's rule. The loop asks it after every drafted chunk; ``rules_on_answers``: also after one that
    holds an answer, which otherwise ends the sample unasked."""

    rules_on_answers: bool = False

    async def begin(self, turn: int) -> None:  # noqa: ARG002
        """Returns when the draft may write the chunk of ``turn``."""
        return

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        """What becomes of the chunk ``drafted``, which the rule may have scored by ``target``. Raises SampleError."""
        ...

    def leave(self) -> None:
        """The sample has ended in any way."""
        return


@dataclass(frozen=True, slots=True)
class RejectionPolicy:
    """What a rejection does. ``on_rejection``: the target continues behind the rejected chunk (the paper), or writes
    in its place ("resample"), there after ``draft_attempts`` chunks of the draft were rejected. ``score_answers``:
    a chunk that holds an answer is scored, too, and can be rejected."""

    on_rejection: OnRejection = "continue"
    draft_attempts: int = 1
    score_answers: bool = False

    def ruling(self, rejected: int) -> Ruling:
        """On a rejected chunk, the ``rejected``-th of its turn."""
        if self.on_rejection == "continue":
            return Ruling.CONTINUE
        return Ruling.REDRAFT if rejected < self.draft_attempts else Ruling.REPLACE


AS_PUBLISHED = RejectionPolicy()


class CountsRejections(TakeOver):
    """Counts a turn's rejected chunks, by which the policy says what becomes of each."""

    def __init__(self, policy: RejectionPolicy) -> None:
        self._policy, self._rejected = policy, 0
        self.rules_on_answers = policy.score_answers

    async def begin(self, turn: int) -> None:  # noqa: ARG002
        """See TakeOver."""
        self._rejected = 0

    def ruling(self) -> Ruling:
        """On one more rejected chunk of the turn."""
        self._rejected += 1
        return self._policy.ruling(self._rejected)


class ByScore(CountsRejections):
    """ATTS: the chunk's score is compared with calibration scores on the spot. A text that the draft ended without
    an answer goes to the target unscored."""

    def __init__(self, rule: RejectionRule, policy: RejectionPolicy = AS_PUBLISHED) -> None:
        super().__init__(policy)
        self._rule = rule

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        """See TakeOver: scores the chunk and asks the rule."""
        if drafted.final and chain.answer is None:
            return Ruling.CONTINUE
        if not (await chain.score(target, turn, self._rule)).rejected:
            return Ruling.ACCEPT
        return self.ruling()
