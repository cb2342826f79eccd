"""Runs of Speculative Thinking, and of its target alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ATTS.baselines.flags import SpeculativeThinkingSettings, ThinkingSettings
from ATTS.baselines.prompts import speculative_thinking_maths, speculative_thinking_multiple_choice
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.config_file import ThinkingConfig
from ATTS.baselines.speculative_thinking.loop import normal, speculative_thinking
from ATTS.baselines.speculative_thinking.thought import FindAnswer, Thought
from ATTS.errors import UserError
from ATTS.method.chain import ModelView
from ATTS.runs import models, questions
from ATTS.runs.evaluate import run_loop
from ATTS.runs.models import StepModel
from ATTS.runs.names import dataset, short
from ATTS.runs.samples import Sample
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel, new_session
from ATTS.serving.limits import Limits
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store.records import Key
from ATTS.tasks import answering
from ATTS.tasks.datasets import Question

THINKING_NAMES = {"gpqa_diamond": "gpqa", "olympiadbench_math_en": "olympiad"}  # what it calls a data set


async def evaluate_speculative_thinking(settings: SpeculativeThinkingSettings) -> str:
    """A run for every data set and temperature. Returns the result folders, a line each. Raises UserError."""
    s = settings
    config = config_file.load(s.spe_config) if s.spe_config else None
    name = config.name if config else short(str(s.model))
    variant = f"_{s.compat}" if s.compat else ""
    folders = []
    for task in filter(None, (task.strip() for task in s.evals.split(","))):
        for temperature in s.temperatures:
            run = ThinkingSettings(
                dataset_name=THINKING_NAMES.get(task, task),
                output_dir=s.result_dir / (s.folder or f"{name}_{dataset(task)}_t{temperature:g}_n{s.n}{variant}"),
                repeats=s.n,
                max_problems=max(0, s.end),
                temperature=temperature,
                eval_model_name=config.target if config else str(s.model),
                small_model_name=config.draft if config else None,
                eval_model_url=s.target_url,
                small_model_url=s.draft_url if config and config.draft else None,
                rules=config.take_overs.model_dump() if config and config.take_overs else {},
                **{
                    field: getattr(s, field)
                    for field in (
                        *("top_p", "top_k", "max_tokens", "start", "end", "seed", "data_dir", "max_retries"),
                        *("request_timeout", "extract_mode", "answer_after_think", "compat", "force"),
                        *("small_model_concurrency", "eval_model_concurrency"),
                    )
                },
            )
            folders.append(await _think(run, config))
    return "\n".join(map(str, folders))


async def _think(s: ThinkingSettings, config: ThinkingConfig | None) -> Path:
    asked = questions.to_evaluate(s)
    asked = [q for q in asked if q.index >= s.start and (s.end < 0 or q.index < s.end)]
    if not asked:
        raise UserError(f"{s.dataset_name} has no question from {s.start} to {s.end}: check --start and --end")
    published = s.compat is not None
    folder = s.output_dir
    assert folder is not None
    async with new_session(s.request_timeout) as session:
        connect = partial(models.connect, session, s, top_k=s.top_k)
        target = await connect("target", s.eval_model_url, s.eval_model_name, CapacityLimiter(s.eval_model_concurrency))
        draft = None
        if s.small_model_name is not None and s.small_model_url is not None:
            draft = await connect(
                "draft", s.small_model_url, s.small_model_name, CapacityLimiter(s.small_model_concurrency)
            )
        served = [one for one in (draft, target) if one is not None]
        contexts = [model.info.context_length for model, _ in served if model.info.context_length]
        context = min(contexts, default=0)

        def reader(one: tuple[SGLangModel, ModelTokenizer], question: Question) -> ModelView:
            model, tokenizer = one
            user = [{"role": "user", "content": thinking_prompt(question)}]
            ids = tokenizer.begin(tokenizer.render(user, answer=not published))
            return ModelView(model, tokenizer, ids, ids, 1, s.temperature)

        def loop(key: Key) -> Sample:
            find: FindAnswer = answering.reader(s.extract_mode or "regex", s.answer_after_think)
            readers = [reader(one, key.question) for one in served]
            d, t = (None if draft is None else readers[0]), readers[-1]
            ends = None
            if published:
                ends = (served[0][1].end, target[1].end)
                find = _behind(target[1].decode_all(t.prompt), find)
            if config is None or config.take_overs is None or d is None:
                thought = Thought(None, t, find)
                room = min(s.max_tokens, context - len(t.prompt) - 1) if context else s.max_tokens
                return thought, normal(thought, max(1, room))
            rules = config.take_overs.rules(s.max_tokens, context, published)
            thought = Thought(d, t, find, rules.max_model_len, ends)
            return thought, speculative_thinking(thought, rules)

        members = [StepModel(model, _prompt_length(tokenizer), 1) for model, tokenizer in served]
        in_flight = s.eval_model_concurrency + (s.small_model_concurrency if draft else 0)
        await run_loop(s, "speculative_thinking", asked, loop, members, Limits(in_flight), folder)
    return folder


def thinking_prompt(question: Question) -> str:
    if question.choices:
        return speculative_thinking_multiple_choice(question.problem, question.choices)
    return speculative_thinking_maths(question.problem)


def _prompt_length(tokenizer: ModelTokenizer) -> Callable[[Question], int]:
    return lambda question: len(tokenizer.prompt(thinking_prompt(question)))


def _behind(prompt: str, find: FindAnswer) -> FindAnswer:
    """As published, the question is searched for an answer, too."""
    return lambda text, ended: find(prompt + text, ended)
