"""The three-stage loop of ATTS, and a model alone. Nothing here but the method."""

from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain, ModelView
from ATTS.method.prefetch import Prefetch
from ATTS.method.take_over import Ruling, TakeOver
from ATTS.method.types import Stage


async def atts(
    chain: Chain, draft: ModelView, target: ModelView, rule: TakeOver, turns: int, optimistic: bool = False
) -> ExitStatus:
    """Draft, score, decide, continue, until an answer stands in the chain, or the turns or its tokens run out.

    ``rule`` scores and decides (:class:`ATTS.method.take_over.ByScore` is the paper's): no sample waits
    for another unless it says so. ``optimistic``: the draft writes on while its last chunk is decided
    about, for nothing if that is rejected. Raises SampleError when a request fails for good.
    """
    ahead = Prefetch(draft, chain.discarded)
    try:
        for turn in range(turns):
            await rule.begin(turn)
            ruling = Ruling.REDRAFT
            while ruling is Ruling.REDRAFT:
                drafted = chain.take(draft, turn, Stage.DRAFT, await ahead.chunk())
                if chain.answer is not None and not rule.rules_on_answers:
                    return ExitStatus.ANSWERED
                if chain.spent and chain.answer is None:
                    return ExitStatus.BUDGET_SPENT
                if optimistic and chain.answer is None and not drafted.final and turn + 1 < turns:
                    ahead.begin(turn + 1)
                ruling = await rule.decide(chain, target, turn, drafted)
                if ruling is not Ruling.ACCEPT:
                    await ahead.drop()
                if ruling.discards:
                    chain.discard()
            over = drafted.final and not ruling.discards
            status = ExitStatus.DRAFT_ENDED if drafted.output else ExitStatus.EMPTY_DRAFT
            if ruling is not Ruling.ACCEPT:
                continued = await chain.extend(target, turn, Stage.CONTINUE)
                if continued.output or not over:
                    status = ExitStatus.TARGET_ENDED
                over = continued.final
            if chain.answer is not None:
                return ExitStatus.ANSWERED
            if over:
                return status
            if chain.spent:
                return ExitStatus.BUDGET_SPENT
        return ExitStatus.TURN_LIMIT
    finally:
        rule.leave()
        await ahead.drop()


async def alone(chain: Chain, model: ModelView, turns: int) -> ExitStatus:
    """One model writes the whole chain, chunk by chunk: the yardstick for every claim."""
    for turn in range(turns):
        written = await chain.extend(model, turn, Stage.DRAFT)
        if chain.answer is not None:
            return ExitStatus.ANSWERED
        if written.final:
            return ExitStatus.DRAFT_ENDED if written.output else ExitStatus.EMPTY_DRAFT
        if chain.spent:
            return ExitStatus.BUDGET_SPENT
    return ExitStatus.TURN_LIMIT
