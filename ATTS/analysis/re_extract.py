"""Answers of saved samples read again; what was read at run time is kept."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from ATTS.analysis import compute_accuracy, folders, metrics, tables
from ATTS.analysis.chains import chain
from ATTS.analysis.folders import Folder, Truth
from ATTS.analysis.grading import answered
from ATTS.console import Progress, show
from ATTS.errors import ExitStatus, UserError
from ATTS.serving.queue import drain
from ATTS.store import atomic, lock, result_folder
from ATTS.store.records import Record
from ATTS.store.result_folder import files, parsed
from ATTS.tasks import answering
from ATTS.tasks.answering import ExtractMode
from ATTS.tasks.answers import INVALID, FindAnswer
from ATTS.tasks.llm import Extractor, NoReply

RUNTIME: Final = "final_answer_runtime"


@dataclass
class Changes:
    """What reading again made of a folder."""

    folder: Folder  # with the new answers
    changed: list[tuple[int, str, str]] = field(default_factory=list)  # sample, answer before, answer now
    failed: list[str] = field(default_factory=list)  # samples that the model did not answer for, and why


async def read_again(
    folder: Folder, find: FindAnswer, extractor: Extractor | None, concurrency: int, dry_run: bool, quiet: bool = False
) -> Changes:
    """Reads every sample again and, unless ``dry_run``, rewrites those whose content changes, each whole or not.

    A sample gets ``final_answer`` (now), ``final_answer_runtime`` (at run time), ``final_answer_regex`` and, from a
    model, ``final_answer_llm``. Where the model fails the sample stays as it is. Raises UserError.
    """
    done: dict[int, Record] = {}
    changes = Changes(folder)
    where = {sample["problem_index"]: path for path, sample in files(folder.path)}
    reference = {s["problem_index"]: one for s, one in zip(folder.samples, folder.references, strict=True)}

    async def work(sample: Record) -> None:
        index = sample["problem_index"]
        if sample.get("exit_status") == ExitStatus.STOPPED:  # what it holds is a part of a chain
            done[index] = sample
            progress.add("as it was")
            return
        before = INVALID if sample["final_answer"] is None else sample["final_answer"]
        text = chain(sample, folder.by_compat)
        answer = find(text, True) or INVALID
        news = {RUNTIME: sample.get(RUNTIME, before), "final_answer_regex": answer}
        if extractor:
            try:
                answer = await extractor.read(str(sample.get("question", "")), text) or INVALID
            except NoReply as reason:
                changes.failed.append(f"sample {index}: {reason}")
                done[index] = sample
                progress.add("failed")
                return
            news["final_answer_llm"] = answer
        news["final_answer"] = answer
        if "reference_answer" in sample:  # so that grading without the data set gives the same
            news["reference_answer"] = reference[index]
        if answer != before:
            changes.changed.append((index, before, answer))
        if not dry_run and any(sample.get(name) != value for name, value in news.items()):
            await _rewrite(where[index], news)
        done[index] = cast(Record, {**sample, **news})
        progress.add("changed" if answer != before else "as it was")

    with _alone(folder.path), Progress(len(folder.samples), 0, "sample", quiet) as progress:
        await drain(folder.samples, work, concurrency)
    changes.changed.sort()
    changes.folder = replace(folder, samples=[done[s["problem_index"]] for s in folder.samples])
    return changes


async def _rewrite(path: Path, news: Mapping[str, Any]) -> None:
    """Changes what a file says of ``news`` and nothing else, whatever it holds. Published ones may hold Infinity."""
    content = {**parsed(path), **news}
    try:
        await atomic.write_aside(path, atomic.as_json(content, allow_nan=True))
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}; it is as it was") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuses a folder that a run is writing to (it locks a file there); removes what a killed command left there.
    Raises UserError."""
    if result_folder.about_of(folder).get("shards"):
        raise UserError(f"{folder} holds shards of a run: join them first, with python -m ATTS.merge")
    path = folder / result_folder.LOCK
    if not path.exists():
        atomic.sweep(folder)
        yield
        return
    handle, claim = os.open(path, os.O_RDWR), None
    try:
        claim = lock.hold(handle, path)
        atomic.sweep(folder)
        yield
    except BlockingIOError:
        raise UserError(f"a run is writing to {folder}; wait for its end") from None
    finally:
        os.close(handle)
        if claim is not None:
            claim.release()


def describe(changes: Changes, dry_run: bool) -> str:
    """Which answers changed, alike ones together."""
    verb = "would change" if dry_run else "changed"
    lines = [f"{len(changes.changed)} of {len(changes.folder.samples)} answers {verb}"]
    alike = Counter((before, now) for _, before, now in changes.changed)
    lines += [f"  {count} x {_short(before)} -> {_short(now)}" for (before, now), count in alike.most_common()]
    gained = sum(before == INVALID for _, before, _ in changes.changed)
    unanswered = sum(not answered(s) for s in changes.folder.samples)
    lines.append(f"{gained} samples have an answer now that had none; {unanswered} have none")
    return "\n".join(lines)


def _short(answer: str) -> str:
    text: Any = json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class ReExtractSettings(compute_accuracy.JudgeSettings):
    """Flags of re_extract."""

    input_dir: Path
    """The result folder; its files are rewritten one by one, each whole or not at all."""

    extract_mode: ExtractMode = "regex"
    """How answers are read: by regex, as published (nested braces cut), or by an OpenAI-compatible model."""

    answer_after_think: bool = False
    """Count answers behind </think> only."""

    dry_run: bool = False
    """Show what would change and the accuracy then; change nothing."""

    truth: Truth = Truth()

    json: bool = False
    """Print JSON."""

    quiet: bool = False
    """Show nothing of how far the work has come."""


async def re_extract(settings: ReExtractSettings) -> str:
    """Reads a folder's answers again; returns what changed, as text or JSON. Raises UserError."""
    folder = folders.load(settings.input_dir, *settings.truth.given)
    async with AsyncExitStack() as stack:
        judge = await stack.enter_async_context(compute_accuracy.judge(settings))
        extractor = None
        if settings.extract_mode == "llm":
            extractor = await stack.enter_async_context(compute_accuracy.extractor(settings))
        find = answering.reader(settings.extract_mode, settings.answer_after_think)
        changes = await read_again(folder, find, extractor, settings.concurrency, settings.dry_run, settings.quiet)
        if extractor:
            extractor.endpoint.check()
        graded = await compute_accuracy.graded(changes.folder, settings, judge)
    if not settings.dry_run:
        result_folder.update_summary(settings.input_dir, graded)
    counts = {"samples": len(folder.samples), "missing": folder.missing, "changed": len(changes.changed)}
    result: dict[str, Any] = {**counts, **graded, **metrics.work(changes.folder.samples)}
    if extractor:
        result["extraction"] = extractor.endpoint.cost
    if changes.failed:
        show(tables.accuracy(result, per_question=False))
        raise UserError(
            f"{len(changes.failed)} of {len(folder.samples)} samples keep their answers, because the model gave none"
            f" ({changes.failed[0]}); the same command tries them again"
        )
    if settings.json:
        return json.dumps(result, indent=1)
    return "\n".join((describe(changes, settings.dry_run), "", tables.accuracy(result, False)))
