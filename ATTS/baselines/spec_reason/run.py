"""Runs of SpecReason, over SGLang or over any OpenAI-compatible servers."""

import os
from collections.abc import Callable
from pathlib import Path

import aiohttp

from ATTS.baselines.flags import SpecReasonSettings
from ATTS.baselines.prompts import spec_reason_maths, spec_reason_multiple_choice
from ATTS.baselines.spec_reason.loop import Reasoning, Rules, Speaker, spec_reason
from ATTS.baselines.spec_reason.speakers import OpenAISpeaker, SGLangSpeaker, digit_ids
from ATTS.errors import UserError
from ATTS.runs import models, questions
from ATTS.runs.evaluate import run_loop
from ATTS.runs.models import StepModel
from ATTS.runs.names import dataset, short
from ATTS.runs.samples import Sample
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import inspect_openai, new_session
from ATTS.serving.limits import Limits
from ATTS.store.records import Key
from ATTS.tasks import answering
from ATTS.tasks.datasets import Question


async def evaluate_spec_reason(settings: SpecReasonSettings) -> Path:
    """Returns the result folder. Raises UserError."""
    s = settings
    asked = questions.to_evaluate(s)
    if s.problem_id is not None:
        asked = [question for question in asked if question.index == s.problem_id]
        if not asked:
            raise UserError(f"{s.dataset_name} has no question {s.problem_id}: check --problem_id")
    folder = s.output_dir or Path("results") / (
        f"spec_reason_{short(s.small_model_name)}_{short(s.eval_model_name)}_{dataset(s.dataset_name)}"
        f"_th{s.score_threshold:g}_{s.score_method}_b{s.token_budget}_n{s.first_n_steps_base_model}_t{s.temperature:g}"
        + (f"_{s.compat}" if s.compat else "")
    )
    rules = Rules(
        score_threshold=s.score_threshold,
        score_method=s.score_method,
        token_budget=s.token_budget,
        first_n_steps=s.first_n_steps_base_model,
        step_tokens=s.step_max_tokens,
        published=s.compat is not None,
    )
    async with new_session(s.request_timeout) as session:
        connect = _speakers_openai if s.backend == "openai" else _speakers_sglang
        draft, draft_says = await connect(session, s, "draft")
        target, target_says = await connect(session, s, "target")

        def loop(key: Key) -> Sample:
            chain = Reasoning(answering.reader(s.extract_mode or "regex", s.answer_after_think))
            return chain, spec_reason(chain, draft_says(key.question), target_says(key.question), rules)

        limits = Limits(s.small_model_concurrency + s.eval_model_concurrency)
        await run_loop(s, "spec_reason", asked, loop, [draft, target], limits, folder, only_repeat=s.repeat_id)
    return folder


Speakers = tuple[StepModel, Callable[[Question], Speaker]]


async def _speakers_sglang(session: aiohttp.ClientSession, s: SpecReasonSettings, role: str) -> Speakers:
    url, name, limit = _served(s, role)
    model, tokenizer = await models.connect(session, s, role, url, name, CapacityLimiter(limit))
    if role == "target":
        digit_ids(tokenizer)
    published = s.compat is not None

    def speaker(question: Question) -> Speaker:
        return SGLangSpeaker(model, tokenizer, spec_reason_prompt(question), s.temperature, published)

    return StepModel(model, lambda q: len(tokenizer.prompt(spec_reason_prompt(q))), s.step_max_tokens), speaker


async def _speakers_openai(session: aiohttp.ClientSession, s: SpecReasonSettings, role: str) -> Speakers:
    url, name, limit = _served(s, role)
    if key := os.environ.get("OPENAI_API_KEY"):
        session.headers["Authorization"] = f"Bearer {key}"
    model = await inspect_openai(session, url, role, name, limit, s.max_retries)
    published = s.compat is not None

    def speaker(question: Question) -> Speaker:
        return OpenAISpeaker(model, name, spec_reason_prompt(question), s.temperature, s.top_p, published)

    return StepModel(model, lambda _: 0, 0), speaker


def _served(s: SpecReasonSettings, role: str) -> tuple[str, str, int]:
    if role == "draft":
        return s.draft_url, s.small_model_name, s.small_model_concurrency
    return s.target_url, s.eval_model_name, s.eval_model_concurrency


def spec_reason_prompt(question: Question) -> str:
    if question.choices:
        return spec_reason_multiple_choice(question.problem, question.choices)
    return spec_reason_maths(question.problem)
