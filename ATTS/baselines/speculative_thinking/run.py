"""Runs of Speculative Thinking, and of its target alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ATTS.baselines.flags import OneRun, SpeculativeThinkingSettings, ThinkingSettings
from ATTS.baselines.prompts import speculative_thinking_maths, speculative_thinking_multiple_choice
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.config_file import TakeOvers
from ATTS.baselines.speculative_thinking.loop import normal, speculative_thinking
from ATTS.baselines.speculative_thinking.thought import Thought
from ATTS.errors import UserError
from ATTS.method.chain import ModelView
from ATTS.runs import models
from ATTS.runs.addresses import several
from ATTS.runs.models import StepModel
from ATTS.runs.names import dataset, short
from ATTS.runs.parts import Data, Results, Samples
from ATTS.runs.questions import to_evaluate
from ATTS.runs.run import Run
from ATTS.runs.samples import Sample
from ATTS.serving.client import SGLangModel
from ATTS.serving.limits import Limits
from ATTS.serving.server_info import new_session
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store.records import Key
from ATTS.store.under_way import ChainJournal, UnderWay
from ATTS.tasks.answers import FindAnswer
from ATTS.tasks.datasets import Question

THINKING_NAMES = {"gpqa_diamond": "gpqa", "olympiadbench_math_en": "olympiad"}  # what it calls a data set


async def evaluate_speculative_thinking(settings: SpeculativeThinkingSettings | ThinkingSettings) -> str:
    """A run for every data set and temperature. Returns the result folders, a line each. Raises UserError."""
    if isinstance(settings, ThinkingSettings):
        return str(await _think(settings))
    s, evaluations = settings, settings.evaluations
    config = config_file.load(s.models.spe_config) if s.models.spe_config else None
    name = config.name if config else short(str(s.models.model))
    variant = f"_{s.writing.compat}" if s.writing.compat else ""
    folders = []
    for task in filter(None, (task.strip() for task in evaluations.evals.split(","))):
        data = Data(
            dataset_name=THINKING_NAMES.get(task, task),
            max_problems=max(0, s.part.end),
            calibration_split=evaluations.calibration_split,
            seed=evaluations.seed,
            data_dir=evaluations.data_dir,
        )
        for temperature in evaluations.temperatures:
            folder = evaluations.folder or f"{name}_{dataset(task)}_t{temperature:g}_n{evaluations.n}{variant}"
            one = OneRun(
                temperature=temperature,
                target=config.target if config else str(s.models.model),
                draft=config.draft if config else None,
                target_url=s.target.address or s.target.url,
                draft_url=s.draft.address or s.draft.url if config and config.draft else None,
                rules=config.take_overs.model_dump() if config and config.take_overs else {},
            )
            run = ThinkingSettings(
                run=one,
                data=data,
                part=s.part,
                writing=s.writing,
                answers=s.answers,
                samples=Samples(repeats=evaluations.n),
                requests=s.requests,
                limits=s.limits,
                output=Results(force=s.output.force, quiet=s.output.quiet, output_dir=evaluations.result_dir / folder),
                sharding=s.sharding,
            )
            folders.append(await _think(run))
    return "\n".join(map(str, folders))


Served = tuple[SGLangModel, ModelTokenizer]


@dataclass(frozen=True)
class Thinking:
    """Makes samples. ``draft`` is None for a target alone."""

    settings: ThinkingSettings
    draft: Served | None
    target: Served
    under_way: UnderWay = field(default_factory=UnderWay)

    @property
    def served(self) -> list[Served]:
        """The models of the run: a target alone has no draft."""
        return [one for one in (self.draft, self.target) if one is not None]

    def sample(self, key: Key) -> Sample:
        """A sample's thought and the work on it."""
        writing, published = self.settings.writing, self.settings.writing.compat is not None
        contexts = [model.info.context_length for model, _ in self.served if model.info.context_length]
        context = min(contexts, default=0)
        find = self.settings.answers.reader()
        journal = self.under_way.chain(key)
        t = self._reader(self.target, key.question, journal)
        if published:
            find = _behind(self.target[1].decode_all(t.prompt), find)
        if self.draft is None:
            thought = Thought(None, t, find)
            room = min(writing.max_tokens, context - len(t.prompt) - 1) if context else writing.max_tokens
            return thought, normal(thought, max(1, room))
        rules = TakeOvers.model_validate(self.settings.run.rules).rules(writing.max_tokens, context, published)
        ends = (self.draft[1].end, self.target[1].end) if published else None
        thought = Thought(self._reader(self.draft, key.question, journal), t, find, rules.max_model_len, ends)
        return thought, speculative_thinking(thought, rules, journal.earlier)

    def _reader(self, one: Served, question: Question, journal: ChainJournal) -> ModelView:
        model, tokenizer = one
        user = [{"role": "user", "content": thinking_prompt(question)}]
        ids = tokenizer.begin(tokenizer.render(user, answer=self.settings.writing.compat is None))
        return ModelView(journal.model(model, model.role), tokenizer, ids, ids, 1, self.settings.run.temperature)


async def _think(s: ThinkingSettings) -> Path:
    start, end, folder = s.part.start, s.part.end, s.output.output_dir
    questions = to_evaluate(s.data)[start : end if end >= 0 else None]
    if not questions:
        raise UserError(f"{s.data.dataset_name} has no question from {start} to {end}: check --start and --end")
    assert folder is not None
    one, limits = s.run, s.limits
    async with new_session(s.requests.request_timeout) as session:
        connect = partial(models.connect, session, s.requests, top_k=s.writing.top_k)
        target = await connect("target", several(one.target_url), one.target, limits.target)
        draft = None
        if one.draft is not None and one.draft_url is not None:
            draft = await connect("draft", several(one.draft_url), one.draft, limits.draft)
        method = Thinking(s, draft, target)
        served = [StepModel(model, _prompt_length(tokenizer), 1) for model, tokenizer in method.served]
        in_flight = Limits(
            sum(limit * len(one[0].urls) for limit, one in ((limits.target, target), (limits.draft, draft)) if one)
        )
        run = Run("speculative_thinking", s, questions, served, in_flight, folder, under_way=method.under_way)
        return await run.finish(method.sample)


def thinking_prompt(question: Question) -> str:
    """The user's message, as Speculative Thinking words it."""
    if question.choices:
        return speculative_thinking_multiple_choice(question.problem, question.choices)
    return speculative_thinking_maths(question.problem)


def _prompt_length(tokenizer: ModelTokenizer) -> Callable[[Question], int]:
    return lambda question: len(tokenizer.prompt(thinking_prompt(question)))


def _behind(prompt: str, find: FindAnswer) -> FindAnswer:
    """As published, the question is searched for an answer, too."""
    return lambda text, ended: find(prompt + text, ended)
