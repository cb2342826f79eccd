"""Runs with a fixed number or share of take-overs, behind a barrier or drawn at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ATTS.baselines.fixed_budget.rules import Budget, RandomBudget, RankedBudget, fixed, share
from ATTS.baselines.flags import AsyncFixBudgetSettings, SyncFixBudgetSettings
from ATTS.method.chain import Chain
from ATTS.method.loop import atts
from ATTS.runs import models
from ATTS.runs.models import ChunkModel
from ATTS.runs.names import dataset, short
from ATTS.runs.questions import to_evaluate
from ATTS.runs.run import Run
from ATTS.runs.samples import Sample
from ATTS.serving.limits import Limits
from ATTS.serving.server_info import new_session
from ATTS.store.records import Key

Settings = SyncFixBudgetSettings | AsyncFixBudgetSettings


@dataclass(frozen=True)
class FixedBudget:
    """Makes samples of the loop, whose take-overs are those of their question's budget."""

    settings: Settings
    budgets: Mapping[int, RankedBudget | RandomBudget]  # by question
    draft: ChunkModel
    target: ChunkModel

    def sample(self, key: Key) -> Sample:
        """A sample's chain and the work on it."""
        s, question = self.settings, key.question
        d, t = self.draft.reader(question), self.target.reader(question)
        chain = Chain(s.answers.reader(), d, t, token_budget=s.samples.token_budget)
        return chain, atts(chain, d, t, self.budgets[question.index].sample(key.repeat), s.samples.turns)


async def evaluate_fixed_budget(settings: Settings) -> Path:
    """ref_sync_fix_budget and ref_async_fix_budget. Returns the result folder. Raises UserError."""
    s = settings
    sync = isinstance(s, SyncFixBudgetSettings)
    questions = to_evaluate(s.data)
    template = s.budget.use_chat_template if isinstance(s, SyncFixBudgetSettings) else None  # by lot nothing is scored
    async with new_session(s.requests.request_timeout) as session:
        draft = await models.draft(session, s.draft, s.requests, s.limits.draft)
        target = await models.target(session, s.target, s.requests, s.limits.target, template)
        # All samples of a question must be under way at once where they wait for each other.
        limits = Limits(max(s.limits.places(s.draft, s.target), s.samples.repeats if sync else 1))
        command = f"ref_{_kind(s)}_fix_budget"
        run = Run(command, s, questions, [draft, target], limits, _folder(s), whole_questions=sync)
        budgets = {question.index: _budget(s, question.index) for question in questions}
        return await run.finish(FixedBudget(s, budgets, draft, target).sample)


def _kind(s: Settings) -> str:
    return "sync" if isinstance(s, SyncFixBudgetSettings) else "async"


def _folder(s: Settings) -> Path:
    rate = s.budget.takeover_rate
    granted = f"b{s.budget.takeover_budget}" if rate is None else f"r{rate:g}"
    return Path("results") / (
        f"{_kind(s)}_fix_budget_{short(s.draft.name)}_{short(s.target.name)}_{dataset(s.data.dataset_name)}"
        f"_sm{s.draft.max_tokens}_em{s.target.max_tokens}_t{s.samples.turns}_{granted}"
        f"_smt{s.draft.temperature:g}_emt{s.target.temperature:g}"
    )


def _budget(s: Settings, question: int) -> RankedBudget | RandomBudget:
    seed, rate = f"{s.data.seed}-{question}", s.budget.takeover_rate
    of_turn: Budget = fixed(s.budget.takeover_budget) if rate is None else share(rate, seed)
    if isinstance(s, SyncFixBudgetSettings):
        return RankedBudget(s.samples.repeats, of_turn)
    return RandomBudget(s.samples.repeats, of_turn, seed)
