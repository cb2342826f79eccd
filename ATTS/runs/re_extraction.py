"""Answers of saved samples read again; what was read at run time is kept."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ATTS.problem import Problem
from ATTS.published.chain import JOINT
from ATTS.runs import durable
from ATTS.runs.folders import Folder
from ATTS.runs.grading import answered
from ATTS.runs.progress import Progress
from ATTS.runs.queue import drain
from ATTS.runs.records import Record
from ATTS.tasks.answers import INVALID, FindAnswer
from ATTS.tasks.llm import Extractor, NoReply

RUNTIME = "final_answer_runtime"


@dataclass
class Changes:
    """What reading again made of a folder."""

    folder: Folder  # with the new answers
    changed: list[tuple[int, str, str]] = field(default_factory=list)  # sample, answer before, answer now
    failed: list[str] = field(default_factory=list)  # samples that the model did not answer for, and why


def chain(sample: Record, by_compat: bool) -> str:
    """A sample's text; published ones were joined by blank lines. Chunks that were rejected are not in it."""
    outputs = [str(e["output"]) for e in sample["full_history"] if "output" in e and e.get("accepted", True)]
    return (JOINT if by_compat else "").join(outputs)


async def re_extract(
    folder: Folder, find: FindAnswer, extractor: Extractor | None, concurrency: int, dry_run: bool
) -> Changes:
    """Reads every sample again and, unless ``dry_run``, rewrites those whose content changes, each whole or not.

    A sample gets ``final_answer`` (now), ``final_answer_runtime`` (at run time), ``final_answer_regex`` and, from a
    model, ``final_answer_llm``. Where the model fails the sample stays as it is. Raises Problem.
    """
    done: dict[int, Record] = {}
    changes = Changes(folder)

    async def work(sample: Record) -> None:
        index = sample["problem_index"]
        text = chain(sample, folder.by_compat)
        answer = find(text, True) or INVALID
        now = {**sample, RUNTIME: sample.get(RUNTIME, sample["final_answer"]), "final_answer_regex": answer}
        if extractor:
            try:
                answer = await extractor.read(str(sample.get("question", "")), text) or INVALID
            except NoReply as reason:
                changes.failed.append(f"sample {index}: {reason}")
                done[index] = sample
                progress.add("failed")
                return
            now["final_answer_llm"] = answer
        now["final_answer"] = answer
        if answer != sample["final_answer"]:
            changes.changed.append((index, str(sample["final_answer"]), answer))
        if now != sample and not dry_run:
            write(folder.path / f"problem_{index:04d}.json", now)
        done[index] = now
        progress.add("changed" if answer != sample["final_answer"] else "as it was")

    with _alone(folder.path), Progress(len(folder.samples), 0, "sample") as progress:
        await drain(folder.samples, work, concurrency)
    changes.changed.sort()
    changes.folder = replace(folder, samples=[done[s["problem_index"]] for s in folder.samples])
    return changes


def write(path: Path, content: Record) -> None:
    """Published files may hold Infinity, which is no JSON but what they hold."""
    durable.write(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuses a folder that a run is writing to (it locks a file there). Raises Problem."""
    lock = folder / ".lock"
    if not lock.exists():
        yield
        return
    handle = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Problem(f"a run is writing to {folder}; wait for its end") from None
    finally:
        os.close(handle)


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
