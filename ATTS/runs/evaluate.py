"""Evaluation runs: settings in, a folder of samples and a summary out."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from ATTS.method.chain import Chain
from ATTS.method.conformal import CalibrationSet, Coin, Judge
from ATTS.method.loop import alone, atts
from ATTS.method.types import ExitStatus, Transcript
from ATTS.problem import Problem
from ATTS.published import Author, PublishedChain, find_answer_not_balanced, published
from ATTS.runs import calibration, metrics, names, parties, provenance, questions
from ATTS.runs.calibration import CalibrationArray
from ATTS.runs.limits import Limits
from ATTS.runs.parties import Party
from ATTS.runs.progress import Progress, say
from ATTS.runs.records import OWED, Keys, record
from ATTS.runs.samples import Ended, Loop, run_samples
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.runs.store import ResultStore
from ATTS.serving.client import new_session
from ATTS.serving.gate import Gate
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question
from ATTS.tasks.llm import Extractor

FIND_ANSWER = {"regex": find_answer, "nongreedy": find_answer_not_balanced, "llm": find_answer}


async def evaluate_async(settings: AsyncSettings, per_question: bool) -> Path:
    """ref_async and ref_async_per_question. Returns the result folder. Raises Problem."""
    asked = questions.to_evaluate(settings)
    array, judges = _judges(settings, per_question, asked)
    folder = settings.output_dir or names.async_results(settings, per_question)
    more = round(settings.rejection_rate * settings.evalator_max_tokens)
    async with new_session(settings.request_timeout) as session:
        limits = Limits(settings.samples_in_flight, _longest(settings.turns, settings.small_model_max_tokens, more))
        slots, seats = limits.gate(settings.small_model_concurrency), limits.gate(settings.eval_model_concurrency)
        scoring = Gate(settings.scoring_concurrency) if settings.scoring_concurrency else None
        draft = await parties.draft(session, settings, slots)
        target = await parties.target(session, settings, seats, scoring)
        limits.add(draft.model, slots, draft.memory, adaptive=settings.small_model_concurrency == 0)
        limits.add(target.model, seats, target.memory, adaptive=settings.eval_model_concurrency == 0)

        answers = FIND_ANSWER[settings.extract_mode or "regex"]

        def loop(question: Question) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:
            judge = judges[question.index]
            if settings.compat == "published":
                first, second = (Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (draft, target))
                told = PublishedChain(question.prompt, first, second, settings.use_chat_template, answers)
                return told, published(told, judge, settings.turns)
            d, t = draft.reader(question), target.reader(question)
            chain = Chain(answers, d, t)
            return chain, atts(chain, d, t, judge, settings.turns, settings.optimistic)

        command = "ref_async_per_question" if per_question else "ref_async"
        await _run(settings, command, asked, loop, [draft, target], limits, folder, array)
    return folder


async def evaluate_alone(settings: BaselineSettings) -> Path:
    """baseline: one model alone. Returns the result folder. Raises Problem."""
    asked = questions.to_evaluate(settings)
    folder = settings.output_dir or names.baseline_results(settings)
    async with new_session(settings.request_timeout) as session:
        limits = Limits(settings.samples_in_flight, _longest(settings.turns, settings.small_model_max_tokens))
        slots = limits.gate(settings.small_model_concurrency)
        model = await parties.draft(session, settings, slots)
        limits.add(model.model, slots, model.memory, adaptive=settings.small_model_concurrency == 0)

        answers = FIND_ANSWER[settings.extract_mode or "regex"]

        def loop(question: Question) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:
            reader = model.reader(question)
            chain = Chain(answers, reader)
            return chain, alone(chain, reader, settings.turns)

        await _run(settings, "baseline", asked, loop, [model], limits, folder, None)
    return folder


def _longest(turns: int, *chunks: int) -> int:
    """Tokens that a chain gets at most, or little more (its prompt not counted)."""
    return turns * sum(chunks)


async def _run(
    settings: AsyncSettings | BaselineSettings,
    command: str,
    asked: Sequence[Question],
    loop: Loop,
    models: Sequence[Party],
    limits: Limits,
    folder: Path,
    array: CalibrationArray | None,
) -> None:
    for model in models:
        model.check(asked)
    extractor = Extractor() if settings.extract_mode == "llm" else None
    decisive = provenance.decisive(settings, command=command, calibration=array.digest if array else None)
    digests = {"settings_digest": provenance.digest(decisive), "calibration_digest": array.digest if array else None}
    about = {
        "command": command,
        "settings": provenance.resolved(settings),
        "decisive": decisive,
        "digest": digests["settings_digest"],
        "calibration": array.provenance if array else None,
        **provenance.surroundings(models),
    }
    keys = Keys(asked, settings.repeats)
    with ResultStore(folder, about, settings.force) as store:
        done = store.finished(keys)
        owed = len(keys) - len(done)
        if done:
            say(f"{len(done)} of {len(keys)} samples are already in {folder}")
        epoch = time.time() - asyncio.get_running_loop().time()
        with Progress(len(keys), len(done), "sample") as progress:

            async def keep(ended: Ended) -> None:
                reason = ended.reason
                if extractor and ended.status not in OWED:  # off the sample's clock
                    try:
                        ended.chain.answer = await extractor.final_answer(ended.key.question.problem, ended.chain.text)
                    except Problem as error:
                        reason = f"{error}; the answer is the one found by regex"
                limits.ended(ended.chain)
                told = record(ended.key, ended.chain, ended.status, reason, ended.seconds, digests, ended.started_at)
                await store.save({**told, "started_at": epoch + ended.started_at})
                progress.add(ended.status.value)

            async with limits:
                waiting = (key for key in keys if key.index not in done)
                await run_samples(waiting, loop, keep, limits.samples, settings.schedule, limits.queue_is_empty)
        clock = {"wall_seconds": limits.seconds, "samples_in_wall_seconds": owed, "servers": limits.report()}
        before = store.summary()
        if not owed and before.get("samples") == len(keys):  # all was done: the clock of that run stands
            clock = {name: before.get(name) for name in clock}
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


def _judges(
    settings: AsyncSettings, per_question: bool, asked: Sequence[Question]
) -> tuple[CalibrationArray | None, Mapping[int, Judge]]:
    """What decides on each question, by the question's index, and the array it comes from. Raises
    Problem if that was made for something else or can't support the rejection rate."""
    if settings.takeover == "random":
        coin = Coin(settings.rejection_rate, settings.seed)
        return None, {question.index: coin for question in asked}
    path = settings.ppl_array_path or names.calibration_array(settings, per_question)
    array = calibration.load(path, per_question)
    _check_provenance(settings, array, path, asked)
    try:
        if array.scores.ndim == 1:
            common = CalibrationSet(array.scores, settings.rejection_rate)
            return array, {question.index: common for question in asked}
        rows = _rows(array, path, asked)
        return array, {index: CalibrationSet(array.scores[row], settings.rejection_rate) for index, row in rows.items()}
    except ValueError as error:
        raise Problem(f"{path}: {error}") from None


def _rows(array: CalibrationArray, path: Path, asked: Sequence[Question]) -> dict[int, int]:
    """Which row belongs to which question: by content where the array says it, else by number."""
    ids = (array.provenance or {}).get("question_ids")
    number = {name: row for row, name in enumerate(ids)} if ids else None
    rows = {}
    for question in asked:
        row = number.get(question.id) if number is not None else question.index
        if row is None or row >= len(array.scores):
            raise Problem(
                f"{path} has no scores for question {question.index}: it has {len(array.scores)} rows, one a"
                " question; run ref_conformal_per_question with the same data set, seed and --max_problems"
            )
        rows[question.index] = row
    return rows


def _check_provenance(settings: AsyncSettings, array: CalibrationArray, path: Path, asked: Sequence[Question]) -> None:
    if array.provenance is None:
        say(f"{path} has no {calibration.provenance_path(path).name} beside it: what it was made for can't be checked")
        return
    wanted = calibration.purpose(settings)
    problems = provenance.differences(array.provenance["made_for"], wanted)
    if settings.calibration_split and array.scores.ndim == 1:
        shared = set(array.provenance["question_ids"]) & {question.id for question in asked}
        if shared:
            problems.append(f"{len(shared)} of the evaluated questions were calibrated on (another --seed?)")
    if problems and not settings.force:
        raise Problem(
            f"{path} was made for something else:\n  " + "\n  ".join(problems) + "\nmake one for these settings with"
            " python -m ATTS.ref_conformal, name another with --ppl_array_path, or accept it with --force"
        )
    for difference in problems:
        say(f"--force accepts {path} although {difference}")
