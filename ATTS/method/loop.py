"""The three-stage loop of ATTS, and a model alone. Nothing here but the method."""

from ATTS.method.ahead import Ahead
from ATTS.method.chain import Chain, Reader
from ATTS.method.conformal import Judge
from ATTS.method.types import ExitStatus, Stage


async def atts(
    chain: Chain, draft: Reader, target: Reader, judge: Judge, turns: int, optimistic: bool = False
) -> ExitStatus:
    """Draft, score, decide, continue, until an answer stands in the chain or the turns run out.

    No sample waits for another: the decision needs the chunk's own score and the calibration
    scores, nothing else. A chunk that answers is not scored; a text that the draft ended without
    an answer goes to the target unasked. ``optimistic``: the draft writes on while its last chunk is
    scored, for nothing if that is rejected. Raises SampleError when a request fails for good.
    """
    ahead = Ahead(draft, chain.discarded)
    try:
        for turn in range(turns):
            drafted = chain.take(draft, turn, Stage.DRAFT, await ahead.chunk())
            if chain.answer is not None:
                return ExitStatus.ANSWERED
            stuck = drafted.ended or not drafted.output
            if not stuck:
                if optimistic and turn + 1 < turns:
                    ahead.begin(turn + 1)
                scored = await chain.score(target, turn, judge)
                if not scored.rejected:
                    continue
                await ahead.drop()
            continued = await chain.extend(target, turn, Stage.CONTINUE)
            if chain.answer is not None:
                return ExitStatus.ANSWERED
            if continued.ended or not continued.output:
                if continued.output or not stuck:
                    return ExitStatus.TARGET_ENDED
                return ExitStatus.DRAFT_ENDED if drafted.output else ExitStatus.EMPTY_DRAFT
        return ExitStatus.TURN_LIMIT
    finally:
        await ahead.drop()


async def alone(chain: Chain, model: Reader, turns: int, token_budget: int = 0) -> ExitStatus:
    """One model writes the whole chain, chunk by chunk, at most ``token_budget`` tokens (0: no limit):
    the yardstick for every claim."""
    left = token_budget
    for turn in range(turns):
        if token_budget:
            model.max_tokens = min(model.max_tokens, left)
        written = await chain.extend(model, turn, Stage.DRAFT)
        if chain.answer is not None:
            return ExitStatus.ANSWERED
        if written.ended or not written.output:
            return ExitStatus.DRAFT_ENDED if written.output else ExitStatus.EMPTY_DRAFT
        left -= written.usage.completion_tokens
        if token_budget and left <= 0:
            return ExitStatus.BUDGET_SPENT
    return ExitStatus.TURN_LIMIT
