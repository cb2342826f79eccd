"""Runs of SpecReason, over SGLang or over any OpenAI-compatible servers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ATTS.baselines.flags import SpecReasonSettings
from ATTS.baselines.prompts import spec_reason_maths, spec_reason_multiple_choice
from ATTS.baselines.spec_reason.loop import Reasoning, Rules, Speaker, spec_reason
from ATTS.baselines.spec_reason.speakers import OpenAISpeaker, SGLangSpeaker, digit_ids
from ATTS.errors import UserError
from ATTS.runs import models
from ATTS.runs.models import StepModel
from ATTS.runs.names import dataset, short
from ATTS.runs.parts import DraftModel, TargetModel
from ATTS.runs.questions import to_evaluate
from ATTS.runs.run import Run
from ATTS.runs.samples import Sample
from ATTS.serving.client import inspect_openai
from ATTS.serving.limits import Limits
from ATTS.serving.server_info import new_session
from ATTS.store.records import Key
from ATTS.tasks.datasets import Question

Speakers = tuple[StepModel, Callable[[Question], Speaker]]


@dataclass(frozen=True)
class SpecReason:
    """Makes samples. ``draft`` and ``target``: who speaks about a question."""

    settings: SpecReasonSettings
    draft: Callable[[Question], Speaker]
    target: Callable[[Question], Speaker]

    def sample(self, key: Key) -> Sample:
        """A sample's reasoning and the work on it."""
        s = self.settings.steps
        rules = Rules(
            score_threshold=s.score_threshold,
            score_method=s.score_method,
            token_budget=s.token_budget,
            first_n_steps=s.first_n_steps_base_model,
            step_tokens=s.step_max_tokens,
            published=s.compat is not None,
        )
        chain = Reasoning(self.settings.answers.reader())
        return chain, spec_reason(chain, self.draft(key.question), self.target(key.question), rules)


async def evaluate_spec_reason(settings: SpecReasonSettings) -> Path:
    """Returns the result folder. Raises UserError."""
    s = settings
    questions, only = to_evaluate(s.data), s.data.problem_id
    if only is not None:
        questions = [question for question in questions if question.index == only]
        if not questions:
            raise UserError(f"{s.data.dataset_name} has no question {only}: check --problem_id")
    async with new_session(s.requests.request_timeout) as session:
        connect = _speakers_openai if s.steps.backend == "openai" else _speakers_sglang
        draft, draft_says = await connect(session, s, s.draft, "draft", s.limits.draft)
        target, target_says = await connect(session, s, s.target, "target", s.limits.target)
        limits, both, only = Limits(s.limits.places(s.draft, s.target)), [draft, target], s.samples.repeat_id
        run = Run("spec_reason", s, questions, both, limits, _folder(s), only_repeat=only)
        return await run.finish(SpecReason(s, draft_says, target_says).sample)


def _folder(s: SpecReasonSettings) -> Path:
    steps = s.steps
    name = (
        f"spec_reason_{short(s.draft.name)}_{short(s.target.name)}_{dataset(s.data.dataset_name)}"
        f"_th{steps.score_threshold:g}_{steps.score_method}_b{steps.token_budget}"
        f"_n{steps.first_n_steps_base_model}_t{steps.temperature:g}"
    )
    return Path("results") / (name + (f"_{steps.compat}" if steps.compat else ""))


async def _speakers_sglang(
    session: aiohttp.ClientSession, s: SpecReasonSettings, part: DraftModel | TargetModel, role: str, limit: int
) -> Speakers:
    model, tokenizer = await models.connect(session, s.requests, role, part.urls, part.name, limit)
    if role == "target":
        digit_ids(tokenizer)
    steps = s.steps

    def speaker(question: Question) -> Speaker:
        prompt = spec_reason_prompt(question)
        return SGLangSpeaker(model, tokenizer, prompt, steps.temperature, steps.compat is not None)

    return StepModel(model, lambda q: len(tokenizer.prompt(spec_reason_prompt(q))), steps.step_max_tokens), speaker


async def _speakers_openai(
    session: aiohttp.ClientSession, s: SpecReasonSettings, part: DraftModel | TargetModel, role: str, limit: int
) -> Speakers:
    if key := os.environ.get("OPENAI_API_KEY"):
        session.headers["Authorization"] = f"Bearer {key}"
    if len(part.urls) > 1:
        raise UserError(f"--backend openai takes one server a side: give one {role} URL, or a gateway's")
    model = await inspect_openai(session, part.urls[0], role, part.name, limit, s.requests.max_retries)
    steps, top_p = s.steps, s.requests.top_p

    def speaker(question: Question) -> Speaker:
        prompt = spec_reason_prompt(question)
        return OpenAISpeaker(model, part.name, prompt, steps.temperature, top_p, steps.compat is not None)

    return StepModel(model, lambda _: 0, 0), speaker


def spec_reason_prompt(question: Question) -> str:
    """The user's message, by kind of data set, as SpecReason words it."""
    if question.choices:
        return spec_reason_multiple_choice(question.problem, question.choices)
    return spec_reason_maths(question.problem)
