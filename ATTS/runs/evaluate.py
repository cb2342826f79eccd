"""Evaluation runs: settings in, a folder of samples and a summary out."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from ATTS.analysis import metrics
from ATTS.console import Progress, say
from ATTS.errors import UserError
from ATTS.method.chain import Chain
from ATTS.method.loop import alone, atts
from ATTS.method.take_over import ByScore
from ATTS.published import Author, PublishedChain, published
from ATTS.runs import certified, models, names, questions, rules
from ATTS.runs.flags import Queued, Sampled
from ATTS.runs.models import ServedModel, surroundings
from ATTS.runs.rules import RejectionRules
from ATTS.runs.samples import Ended, Loop, Sample, run_samples
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import new_session
from ATTS.serving.limits import Limits
from ATTS.store import provenance
from ATTS.store.records import OWED, Key, Keys, record
from ATTS.store.result_folder import ResultStore
from ATTS.tasks import answering
from ATTS.tasks.datasets import Question
from ATTS.tasks.llm import Extractor

log = logging.getLogger(__name__)


async def evaluate_async(settings: AsyncSettings, per_question: bool) -> Path:
    """ref_async and ref_async_per_question. Returns the result folder. Raises UserError."""
    settings, certificate = certified.applied(settings, per_question)
    asked = questions.to_evaluate(settings)
    decides = rules.make(settings, per_question, asked)
    if certificate is not None:
        certified.check(settings, certificate, asked, decides.array)
    per_question = per_question or decides.kind == "per_question"
    folder = settings.output_dir or names.async_results(settings, per_question)
    more = round(settings.rejection_rate * settings.evalator_max_tokens)
    longest = settings.longest(settings.small_model_max_tokens + more)
    if settings.on_rejection == "resample":
        longest = settings.text_limit
    async with new_session(settings.request_timeout) as session:
        limits = Limits(settings.samples_in_flight, longest)
        slots, seats = limits.gate(settings.small_model_concurrency), limits.gate(settings.eval_model_concurrency)
        scoring = CapacityLimiter(settings.scoring_concurrency) if settings.scoring_concurrency else None
        draft = await models.draft(session, settings, settings.draft_url, slots)
        target = await models.target(session, settings, seats, scoring)
        limits.add(draft.model, slots, draft.memory, adaptive=settings.small_model_concurrency == 0)
        limits.add(target.model, seats, target.memory, adaptive=settings.eval_model_concurrency == 0)

        answers = answering.reader(settings.extract_mode or "regex", settings.answer_after_think)

        def loop(key: Key) -> Sample:
            question, judge = key.question, decides[key]
            if settings.compat == "published":
                first, second = (Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (draft, target))
                told = PublishedChain(question.prompt, first, second, settings.use_chat_template, answers)
                return told, published(told, judge, settings.turns)
            d, t = draft.reader(question), target.reader(question)
            chain = Chain(answers, d, t, score=settings.scoring, token_budget=settings.text_limit)
            rule = ByScore(judge, settings.policy)
            return chain, atts(chain, d, t, rule, settings.most_turns, settings.optimistic)

        command = "ref_async_per_question" if per_question else "ref_async"
        await run_loop(settings, command, asked, loop, [draft, target], limits, folder, decides)
    return folder


async def evaluate_alone(settings: BaselineSettings) -> Path:
    """baseline: one model alone. Returns the result folder. Raises UserError."""
    asked = questions.to_evaluate(settings)
    folder = settings.output_dir or names.baseline_results(settings)
    async with new_session(settings.request_timeout) as session:
        limits = Limits(settings.samples_in_flight, settings.longest(settings.small_model_max_tokens))
        slots = limits.gate(settings.small_model_concurrency)
        model = await models.draft(session, settings, settings.draft_url, slots)
        limits.add(model.model, slots, model.memory, adaptive=settings.small_model_concurrency == 0)

        answers = answering.reader(settings.extract_mode or "regex", settings.answer_after_think)

        def loop(key: Key) -> Sample:
            reader = model.reader(key.question)
            chain = Chain(answers, reader, token_budget=settings.token_budget)
            return chain, alone(chain, reader, settings.turns)

        await run_loop(settings, "baseline", asked, loop, [model], limits, folder)
    return folder


async def run_loop(
    settings: Sampled,
    command: str,
    asked: Sequence[Question],
    loop: Loop,
    served: Sequence[ServedModel],
    limits: Limits,
    folder: Path,
    decides: RejectionRules | None = None,
    whole_questions: bool = False,
    only_repeat: int | None = None,
) -> None:
    """Runs every sample that ``folder`` doesn't hold yet, all in one queue, and sums up the folder.

    ``loop`` makes a sample: its transcript and the work on it. ``whole_questions``: the
    samples of a question need each other, so all are done again where one is missing. ``only_repeat``:
    no others than this one of every question. Raises UserError.
    """
    for model in served:
        model.check(asked)
    async with Extractor() if settings.extract_mode == "llm" else nullcontext() as extractor:
        array = decides.array if decides else None
        decisive = provenance.decisive(settings, command=command, calibration=array.digest if array else None)
        if decides and decides.kind not in ("marginal", "per_question", "random"):
            decisive["calibration_kind"] = decides.kind
        digests = {
            "settings_digest": provenance.digest(decisive),
            "calibration_digest": array.digest if array else None,
        }
        about = {
            "command": command,
            "settings": provenance.resolved(settings),
            "decisive": decisive,
            "digest": digests["settings_digest"],
            "calibration": array.provenance if array else None,
            **surroundings(served),
        }
        keys: Sequence[Key] = Keys(asked, settings.repeats)
        if only_repeat is not None:
            keys = [key for key in keys if key.repeat == only_repeat]
        with ResultStore(folder, about, settings.force) as store:
            done = store.finished(keys)
            if whole_questions:
                incomplete = {key.question.index for key in keys if key.index not in done}
                done = {key.index for key in keys if key.question.index not in incomplete}
            owed = len(keys) - len(done)
            waiting: Iterable[Key] = (key for key in keys if key.index not in done)
            if decides and decides.learns:
                waiting = decides.resume(folder, list(waiting))
            if done:
                say(f"{len(done)} of {len(keys)} samples are already in {folder}")
            epoch = time.time() - asyncio.get_running_loop().time()
            with Progress(len(keys), len(done), "sample") as progress:

                async def keep(ended: Ended) -> None:
                    reason = ended.reason
                    if extractor and ended.status not in OWED:  # off the sample's clock
                        try:
                            ended.chain.answer = await extractor.final_answer(
                                ended.key.question.problem, ended.chain.text
                            )
                        except UserError as error:
                            reason = f"{error}; the answer is the one found by regex"
                            log.warning("%s", reason)
                    limits.ended(ended.chain)
                    told = record(
                        ended.key, ended.chain, ended.status, reason, ended.seconds, digests, ended.started_at
                    )
                    await store.save({**told, "started_at": epoch + ended.started_at})
                    progress.add(ended.status.value)

                schedule = settings.schedule if isinstance(settings, Queued) else "queue"
                async with limits:
                    await run_samples(waiting, loop, keep, limits.samples, schedule, limits.queue_is_empty)
            clock = {"wall_seconds": limits.seconds, "samples_in_wall_seconds": owed, "servers": limits.report()}
            before = store.summary()
            if not owed and before.get("samples") == len(keys):  # all was done: the clock of that run stands
                clock = {name: before.get(name) for name in clock}
            say("grading")
            summary = {**await asyncio.to_thread(metrics.summarise, folder, keys), **clock}
            store.save_summary(summary)
        print(metrics.describe(summary))
        if summary["owed"]:
            raise UserError(
                f"{summary['owed']} of {len(keys)} samples failed at the servers; the others are in {folder}."
                " The same command tries them again"
            )
