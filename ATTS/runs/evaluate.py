"""Evaluation runs: settings in, a folder of samples and a summary out."""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from ATTS.method.chain import Chain
from ATTS.method.loop import alone, atts
from ATTS.method.types import ExitStatus, SampleError, Transcript
from ATTS.problem import Problem
from ATTS.published import Author, PublishedChain, published
from ATTS.runs import answering, judges, metrics, names, parties, provenance, questions
from ATTS.runs.judges import Judges
from ATTS.runs.parties import Participant
from ATTS.runs.progress import Progress, say
from ATTS.runs.queue import drain
from ATTS.runs.records import Key, record
from ATTS.runs.settings import AsyncSettings, BaselineSettings, Sampled
from ATTS.runs.store import ResultStore
from ATTS.serving.client import new_session
from ATTS.tasks.datasets import Question
from ATTS.tasks.llm import Extractor

Sample = tuple[Transcript, Coroutine[Any, Any, ExitStatus]]  # and the work on it
Loop = Callable[[Question], Sample]


async def evaluate_async(settings: AsyncSettings, per_question: bool) -> Path:
    """ref_async and ref_async_per_question. Returns the result folder. Raises Problem."""
    asked = questions.to_evaluate(settings)
    decides = judges.make(settings, per_question, asked)
    per_question = per_question or decides.kind == "per_question"
    folder = settings.output_dir or names.async_results(settings, per_question)
    async with new_session(settings.request_timeout) as session:
        draft = await parties.draft(session, settings, settings.small_model_concurrency)
        target = await parties.target(session, settings, settings.eval_model_concurrency)

        answers = answering.reader(settings.extract_mode or "regex", settings.answer_after_think)

        def loop(question: Question) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:
            judge = decides[question]
            if settings.compat == "published":
                first, second = (Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (draft, target))
                told = PublishedChain(question.prompt, first, second, settings.use_chat_template, answers)
                return told, published(told, judge, settings.turns)
            d, t = draft.reader(question), target.reader(question)
            chain = Chain(answers, d, t)
            return chain, atts(chain, d, t, judge, settings.turns)

        # A sample has one request under way at a time: so many keep both servers' slots full.
        in_flight = settings.small_model_concurrency + settings.eval_model_concurrency
        command = "ref_async_per_question" if per_question else "ref_async"
        await run_loop(settings, command, asked, loop, [draft, target], in_flight, folder, decides)
    return folder


async def evaluate_alone(settings: BaselineSettings) -> Path:
    """baseline: one model alone. Returns the result folder. Raises Problem."""
    asked = questions.to_evaluate(settings)
    folder = settings.output_dir or names.baseline_results(settings)
    async with new_session(settings.request_timeout) as session:
        model = await parties.draft(session, settings, settings.small_model_concurrency)

        answers = answering.reader(settings.extract_mode or "regex", settings.answer_after_think)

        def loop(question: Question) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:
            reader = model.reader(question)
            chain = Chain(answers, reader)
            return chain, alone(chain, reader, settings.turns, settings.token_budget)

        await run_loop(settings, "baseline", asked, loop, [model], settings.small_model_concurrency, folder, None)
    return folder


async def run_loop(
    settings: Sampled,
    command: str,
    asked: Sequence[Question],
    loop: Loop,
    models: Sequence[Participant],
    in_flight: int,
    folder: Path,
    decides: Judges | None = None,
    whole_questions: bool = False,
    only_repeat: int | None = None,
) -> None:
    """Runs every sample that ``folder`` doesn't hold yet, all in one queue, and sums up the folder.

    ``loop`` makes a sample of a question: its transcript and the work on it. ``whole_questions``: the
    samples of a question need each other, so all are done again where one is missing. ``only_repeat``:
    no others than this one of every question. Raises Problem.
    """
    for model in models:
        model.check(asked)
    extractor = Extractor() if settings.extract_mode == "llm" else None
    array = decides.array if decides else None
    decisive = provenance.decisive(settings, command=command, calibration=array.digest if array else None)
    if decides and decides.kind not in ("marginal", "per_question", "random"):
        decisive["calibration_kind"] = decides.kind
    digests = {"settings_digest": provenance.digest(decisive), "calibration_digest": array.digest if array else None}
    about = {
        "command": command,
        "settings": provenance.resolved(settings),
        "decisive": decisive,
        "digest": digests["settings_digest"],
        "calibration": array.provenance if array else None,
        **provenance.surroundings(models),
    }
    keys = [Key(question, repeat, settings.repeats) for question in asked for repeat in range(settings.repeats)]
    if only_repeat is not None:
        keys = [key for key in keys if key.repeat == only_repeat]
    with ResultStore(folder, about, settings.force) as store:
        owed = store.owed(keys)
        if whole_questions:
            incomplete = {key.question.index for key in owed}
            owed = [key for key in keys if key.question.index in incomplete]
        if decides:
            owed = decides.resume(folder, owed)
        if len(owed) < len(keys):
            say(f"{len(keys) - len(owed)} of {len(keys)} samples are already in {folder}")
        started = time.perf_counter()
        with Progress(len(keys), len(keys) - len(owed), "sample") as progress:

            async def work(key: Key) -> None:
                progress.add(await _sample(key, loop, store, extractor, digests))

            for batch in _batches(owed, barrier=isinstance(settings, AsyncSettings) and settings.compat is not None):
                await drain(batch, work, in_flight)
        clock = {"wall_seconds": time.perf_counter() - started, "samples_in_wall_seconds": len(owed)}
        before = store.summary()
        if not owed and before.get("samples") == len(keys):  # all was done: the clock of that run stands
            clock = {name: before[name] for name in clock}
        say("grading")
        summary = {**await asyncio.to_thread(metrics.summarise, folder, keys), **clock}
        store.save_summary(summary)
    if extractor:
        await extractor.close()
    print(metrics.describe(summary))
    if summary["owed"]:
        raise Problem(
            f"{summary['owed']} of {len(keys)} samples failed at the servers; the others are in {folder}."
            " The same command tries them again"
        )


def _batches(owed: Sequence[Key], barrier: bool) -> Iterator[Sequence[Key]]:
    """All samples at once, or (as published) one question's after the other's."""
    if not barrier:
        yield owed
        return
    for _, batch in itertools.groupby(owed, key=lambda key: key.question.index):
        yield list(batch)


async def _sample(
    key: Key, loop: Loop, store: ResultStore, extractor: Extractor | None, digests: dict[str, str | None]
) -> str:
    """Runs one sample to its end, whatever that is, and stores it. Returns its exit status."""
    chain, ending = loop(key.question)
    started = time.perf_counter()
    reason = None
    try:
        status = await ending
    except SampleError as error:
        status, reason = error.status, str(error)
    except (asyncio.CancelledError, Problem) as error:
        status = ExitStatus.SERVER_FAILED if isinstance(error, Problem) else ExitStatus.CANCELLED
        await store.save(record(key, chain, status, str(error) or None, time.perf_counter() - started, digests))
        raise
    seconds = time.perf_counter() - started  # the model that reads answers is not on the sample's clock
    if extractor:
        try:
            chain.answer = await extractor.final_answer(key.question.problem, chain.text)
        except Problem as error:
            reason = f"{error}; the answer is the one found by regex"
    await store.save(record(key, chain, status, reason, seconds, digests))
    return status.value
