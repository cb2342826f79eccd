"""Runs with a fixed number or share of take-overs, behind a barrier or drawn at random."""

from pathlib import Path

from ATTS.baselines.fixed_budget.rules import Budget, RandomBudget, RankedBudget, fixed, share
from ATTS.baselines.flags import AsyncFixBudgetSettings, SyncFixBudgetSettings
from ATTS.method.chain import Chain
from ATTS.method.loop import atts
from ATTS.runs import models, questions
from ATTS.runs.evaluate import run_loop
from ATTS.runs.models import ChunkModel
from ATTS.runs.names import dataset, short
from ATTS.runs.samples import Sample
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import new_session
from ATTS.serving.limits import Limits
from ATTS.store.records import Key
from ATTS.tasks import answering


async def evaluate_fixed_budget(settings: SyncFixBudgetSettings | AsyncFixBudgetSettings) -> Path:
    """ref_sync_fix_budget and ref_async_fix_budget. Returns the result folder. Raises UserError."""
    s = settings
    sync = isinstance(s, SyncFixBudgetSettings)
    asked = questions.to_evaluate(s)
    command = "ref_sync_fix_budget" if sync else "ref_async_fix_budget"
    kind = "sync" if sync else "async"
    granted = f"b{s.takeover_budget}" if s.takeover_rate is None else f"r{s.takeover_rate:g}"
    folder = s.output_dir or Path("results") / (
        f"{kind}_fix_budget_{short(s.small_model_name)}_{short(s.eval_model_name)}_{dataset(s.dataset_name)}"
        f"_sm{s.small_model_max_tokens}_em{s.evalator_max_tokens}_t{s.turns}_{granted}"
        f"_smt{s.small_model_temperature:g}_emt{s.eval_model_temperature:g}"
    )
    async with new_session(s.request_timeout) as session:
        draft = await models.draft(session, s, s.draft_url, CapacityLimiter(s.small_model_concurrency))
        model, tokenizer = await models.connect(
            session, s, "target", s.target_url, s.eval_model_name, CapacityLimiter(s.eval_model_concurrency)
        )
        template = s.use_chat_template if isinstance(s, SyncFixBudgetSettings) else None  # by lot nothing is scored
        target = ChunkModel(model, tokenizer, s.evalator_max_tokens, s.eval_model_temperature, None, template)
        answers = answering.reader(s.extract_mode or "regex", s.answer_after_think)

        def budget(question: int) -> Budget:
            if s.takeover_rate is None:
                return fixed(s.takeover_budget)
            return share(s.takeover_rate, f"{s.seed}-{question}")

        budgets: dict[int, RankedBudget | RandomBudget] = {
            q.index: RankedBudget(s.repeats, budget(q.index))
            if sync
            else RandomBudget(s.repeats, budget(q.index), f"{s.seed}-{q.index}")
            for q in asked
        }

        def loop(key: Key) -> Sample:
            question = key.question
            d, t = draft.reader(question), target.reader(question)
            chain = Chain(answers, d, t, token_budget=s.token_budget)
            return chain, atts(chain, d, t, budgets[question.index].sample(key.repeat), s.turns)

        # All samples of a question must be under way at once where they wait for each other.
        in_flight = max(s.small_model_concurrency + s.eval_model_concurrency, s.repeats if sync else 1)
        await run_loop(s, command, asked, loop, [draft, target], Limits(in_flight), folder, whole_questions=sync)
    return folder
