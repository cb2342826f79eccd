"""A language model as the judge of answers: says Match or Mismatch, and nothing else counts."""

import re
from collections.abc import Sequence

from ATTS.tasks.equivalence import Verdict
from ATTS.tasks.llm import Endpoint, EndpointCost, NoReply

LONGEST = 1000  # characters of an answer that are shown
_SYSTEM = "You are a mathematics expert."
_ANY = (
    "Here are the correct answer to a question and a list of answers that were given. Does any of the given answers"
    " mean the same as the correct one, exactly or within rounding? Notation, units and the order of solutions don't"
    " matter. Reply with one word: Match if any does, Mismatch if none does."
)
_ONE = (
    "Here are a question, its correct answer and an answer that was given. Does the given answer mean the same as the"
    " correct one, exactly or within rounding? Notation, units and the order of solutions don't matter. Don't solve"
    " the question. Reply with one word: Match or Mismatch."
)
_REPLY = re.compile(r"\W*(match|mismatch)\W*", re.I)


class JudgeCost(EndpointCost):
    """And how many replies were neither word."""

    unreadable: int


class LLMJudge:
    """Decides by asking a model, greedily, for ten tokens, as published; one that thinks first gets more."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @property
    def unreadable(self) -> int:
        """Replies that were neither word."""
        return self.endpoint.unreadable

    async def matches(self, question: str, reference: str, answer: str) -> Verdict:
        """Whether one answer is right. Raises UserError."""
        request = f"Question:\n{question}\n\nCorrect answer:\n{reference}\n\nGiven answer:\n{answer[:LONGEST]}"
        return await self._ask(f"{_ONE}\n\n{request}")

    async def any_matches(self, reference: str, answers: Sequence[str]) -> Verdict:
        """Whether any of a question's answers is right: the published measure. Raises UserError."""
        given = "\n".join(f"- {answer[:LONGEST]}" for answer in answers)
        return await self._ask(f"{_ANY}\n\nCorrect answer:\n{reference}\n\nGiven answers:\n{given}")

    def cost(self) -> JudgeCost:
        """What was asked and what it cost."""
        return {**self.endpoint.cost, "unreadable": self.unreadable}

    async def _ask(self, user: str) -> Verdict:
        try:
            reply = await self.endpoint.ask(_SYSTEM, user, max_tokens=10, readable=_readable)
        except NoReply:
            return Verdict.UNDECIDED
        word = _REPLY.fullmatch(reply)
        if word is None:
            return Verdict.UNDECIDED
        return Verdict.EQUAL if word[1].lower() == "match" else Verdict.DIFFERENT


def _readable(reply: str) -> bool:
    return _REPLY.fullmatch(reply) is not None
