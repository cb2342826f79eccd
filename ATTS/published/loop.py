"""The published order of things."""

from ATTS.errors import ExitStatus
from ATTS.method.conformal import RejectionRule
from ATTS.published.chain import PublishedChain


async def published(chain: PublishedChain, judge: RejectionRule, turns: int) -> ExitStatus:
    """Draft, score, decide, continue, and only then look for an answer.

    So a draft that has answered is scored, and continued if the score says so; and a model that has
    ended its text is asked again. Raises SampleError when a request fails for good.
    """
    for turn in range(turns):
        if not await chain.draft(turn):
            return ExitStatus.EMPTY_DRAFT
        if await chain.score(turn, judge):
            await chain.take_over(turn)
        if chain.find_answer():
            return ExitStatus.ANSWERED
    return ExitStatus.TURN_LIMIT
