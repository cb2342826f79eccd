"""How answers of recorded runs are read and compared, and what hostile ones do: figures of docs/GRADING.md.

    python scripts/figures/grading.py --data FOLDER [--hostile 10000]

Prints tables and JSON; reads ``traces/`` and ``hub/`` below ``--data``.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adversarial
from fidelity import joined

from ATTS import console
from ATTS.analysis.accuracy import Graded, accuracy
from ATTS.errors import UserError
from ATTS.store.recording import read_recording
from ATTS.tasks import datasets
from ATTS.tasks.answers import INVALID, find_answer, find_boxes
from ATTS.tasks.equivalence import Grader, Verdict, compare_quickly, read
from ATTS.tasks.workers import CHECK_SECONDS, Workers

REPEATS = 16
WORKERS = 2
GRACE = 1.0  # seconds by which a check may outlast its limit
Sample = dict[str, Any]


def last_box(text: str) -> str:
    """What the labels of the recordings were made from: the last box alone."""
    boxes = find_boxes(text, ended=True)
    return boxes[-1].content if boxes else INVALID


def agreement(samples: Sequence[Sample], truth: dict[str, str], grader: Grader) -> dict[str, Any]:
    """Our verdicts beside the labels that the recordings carry, and what reading lists of boxes changes."""
    references = [truth[s["question"]] for s in samples]
    texts = [joined(s) for s in samples]
    given = {
        "balanced": [str(s["final_answer_balanced"]) for s in samples],  # as recorded
        "last box": [last_box(text) for text in texts],  # as read here
        "answer": [find_answer(text, True) or INVALID for text in texts],  # with lists of boxes
    }
    right = {
        way: [v is Verdict.EQUAL for v in grader.compare(zip(references, answers, strict=True))]
        for way, answers in given.items()
    }
    labels = [bool(s["correct"]["balanced"]) for s in samples]
    return {
        "samples": len(samples),
        "accuracy by labels": sum(labels) / len(samples),
        **{f"accuracy, {way}": sum(ok) / len(samples) for way, ok in right.items()},
        "agreement, balanced": _share(right["balanced"], labels),
        "agreement, last box": _share(right["last box"], labels),
        **{f"differences, {way}": _differences(samples, references, given[way], right[way], labels) for way in given},
        "graded": [
            Graded(s["question_id"], a, a, Verdict.EQUAL if ok else Verdict.DIFFERENT, s["stop"], ref)
            for s, a, ok, ref in zip(samples, given["answer"], right["answer"], references, strict=True)
        ],
    }


def _share(one: Sequence[bool], other: Sequence[bool]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def _differences(
    samples: Sequence[Sample],
    references: Sequence[str],
    answers: Sequence[str],
    right: Sequence[bool],
    labels: Sequence[bool],
) -> list[dict[str, Any]]:
    """Alike answers on whose verdict we and the labels differ, with their number."""
    counts = Counter(
        (s["question_id"], ref, str(s["final_answer_balanced"]), answer, label)
        for s, ref, answer, ok, label in zip(samples, references, answers, right, labels, strict=True)
        if ok != label
    )
    keys = ("question", "reference", "labelled answer", "answer", "label")
    return [{**dict(zip(keys, item, strict=True)), "samples": count} for item, count in counts.most_common()]


def speed(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Checks a second with two workers, their start left out: as runs are graded (a pair that comes again is
    known), for distinct pairs only, and with every check done anew."""
    distinct = list(dict.fromkeys(pairs))
    with Grader(WORKERS) as grader:
        grader.compare([("x", "x+1"), ("x", "x+2")])  # starts the workers
        started = time.perf_counter()
        grader.compare(pairs)
        cached = time.perf_counter() - started
    with Grader(WORKERS) as grader:
        grader.compare([("x", "x+1"), ("x", "x+2")])
        started = time.perf_counter()
        grader.compare(distinct)
        once = time.perf_counter() - started
    workers = Workers(WORKERS)
    workers.equal([("x", "x+1"), ("x", "x+2")])
    started = time.perf_counter()
    hard = [(read(a), read(b)) for a, b in pairs if compare_quickly(a, b) is None]
    workers.equal(hard)
    anew = time.perf_counter() - started
    workers.close()
    return {
        "checks": len(pairs),
        "distinct": len(distinct),
        "distinct that need algebra": sum(compare_quickly(*pair) is None for pair in distinct),
        "that need algebra": len(hard),
        "checks/s, as runs are graded": len(pairs) / cached,
        "checks/s, distinct pairs only": len(distinct) / once,
        "checks/s, every check anew": len(pairs) / anew,
    }


def time_adversarial(count: int) -> dict[str, Any]:
    """Hostile checks, one after the other, each timed; processes and memory afterwards."""
    verdicts: Counter[str] = Counter()
    slowest, late = 0.0, 0
    started = time.perf_counter()
    with Grader(WORKERS) as grader:
        for pair in adversarial.pairs(count):
            before = time.perf_counter()
            verdicts[grader.compare([pair])[0].value] += 1
            took = time.perf_counter() - before
            slowest, late = max(slowest, took), late + (took > CHECK_SECONDS + GRACE)
    return {
        "hostile checks": count,
        **verdicts,
        "slowest, s": slowest,
        "later than 6 s": late,
        "seconds": time.perf_counter() - started,
        "processes left": len(children()),
        "largest worker, MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def children() -> list[int]:
    """Processes that this one started and that are still there, zombies included."""
    own = os.getpid()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended in the meantime
            continue
        if parent == own:
            found.append(int(entry.name))
    return found


def measure(data: Path, hostile_checks: int) -> dict[str, Any]:
    truth = {question.problem: question.answer for question in datasets.load("math500", data_dir=data / "hub")}
    recordings = {
        path.name.removeprefix("traces_math500_").removesuffix(".jsonl.gz"): list(read_recording(path))
        for path in sorted((data / "traces").glob("*.jsonl.gz"))
    }
    if not recordings:
        raise UserError(f"no recorded runs (*.jsonl.gz) in {data / 'traces'}")
    result: dict[str, Any] = {"runs": {}}
    with Grader() as grader:
        for name, samples in recordings.items():
            figures = agreement(samples, truth, grader)
            graded = accuracy(figures.pop("graded"), REPEATS)
            figures |= {key: graded[key] for key in ("low", "high", "pass_at_k", "majority_at_k")}
            result["runs"][name] = figures
    pairs = [(truth[s["question"]], str(s["final_answer_balanced"])) for run in recordings.values() for s in run]
    result["speed"] = speed(pairs)
    if hostile_checks:
        result["hostile"] = time_adversarial(hostile_checks)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hostile", type=int, default=10_000, help="hostile checks; 0: none")
    args = parser.parse_args()
    try:
        result = measure(args.data, args.hostile)
    except UserError as problem:
        sys.exit(console.fail(problem))
    print(table(result))
    print(json.dumps(result))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    runs = result["runs"]
    rows = [name for name, value in next(iter(runs.values())).items() if isinstance(value, int | float)]
    lines = [f"| | {' | '.join(runs)} |", "| --- |" + " --- |" * len(runs)]
    lines += [f"| {row} | {' | '.join(_number(run[row]) for run in runs.values())} |" for row in rows]
    for name, run in runs.items():
        for way in ("balanced", "last box", "answer"):
            for item in run[f"differences, {way}"]:
                lines.append(f"{name}, {way}: {json.dumps(item, ensure_ascii=False)}")
    for part in ("speed", "hostile"):
        lines += ["", *(f"| {name} | {_number(value)} |" for name, value in result.get(part, {}).items())]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
