"""What the published driver's ways cost on its own recorded runs: figures of docs/FIDELITY.md.

    python scripts/figures/fidelity.py --data FOLDER

Prints a table and JSON; reads ``traces/`` and ``hub/`` below ``--data``.
"""

import argparse
import heapq
import itertools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from calibrated import first_chunks, sums

from ATTS import console
from ATTS.errors import UserError
from ATTS.published.chain import JOINT
from ATTS.store.recording import read_recording
from ATTS.tasks import datasets
from ATTS.tasks.answers import INVALID, find_answer, find_answer_not_balanced, find_boxed
from ATTS.tasks.equivalence import Grader, Verdict

Sample = dict[str, Any]
Figures = dict[str, float]
SLOTS = 16  # requests at a time of the published driver


def chunks(sample: Sample) -> Iterator[tuple[str, Sample, str]]:
    """(who, turn, text) of everything that was written, in order."""
    for turn in sample["turns"]:
        yield "draft", turn, turn["draft_text"]
        if turn["target_text"] is not None:
            yield "target", turn, turn["target_text"]


def joined(sample: Sample) -> str:
    return JOINT.join(text for _, _, text in chunks(sample))


def answered_drafts(samples: Sequence[Sample]) -> Figures:
    """Drafts that already held an answer when the target was asked all the same."""
    scored = continued = empty = empty_continuations = 0
    for sample in samples:
        said: list[str] = []
        for who, turn, text in chunks(sample):
            said.append(text)
            if who == "target":
                empty_continuations += not text
            elif turn["ppl"] is not None and find_answer(JOINT.join(said), False):
                scored += 1
                continued += turn["target_text"] is not None
                empty += turn["target_text"] == ""
    asked = sum(turn["target_text"] is not None for sample in samples for turn in sample["turns"])
    return {
        "drafts scored although they held an answer": scored,
        "of them continued by the target": continued,
        "share of all continuations": continued / asked,
        "continuations that came back empty": empty_continuations,
        "of them behind an answered draft": empty,
    }


def boundaries(samples: Sequence[Sample]) -> Figures:
    """Where the paragraph joiner cuts a text that was only cut by the token limit."""
    total = split = newline = 0
    for sample in samples:
        texts = [text for _, _, text in chunks(sample) if text]
        for before, after in itertools.pairwise(texts):
            total += 1
            split += before[-1].isalnum() and after[0].isalnum()
            newline += after.startswith("\n")
    return {
        "chunk boundaries": total,
        "inside a word or number": split,
        "share inside a word or number": split / total,
        "before a line break": newline,
    }


def answers(samples: Sequence[Sample], truth: dict[str, str]) -> Figures:
    """Answers and their accuracy by the published regex and by balanced braces."""
    found: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        text = joined(sample)
        found["published"].append(find_answer_not_balanced(text) or INVALID)
        found["balanced"].append(find_answer(text, True) or INVALID)
    references = [truth[sample["question"]] for sample in samples]
    with Grader() as grader:
        right = {
            way: [verdict is Verdict.EQUAL for verdict in grader.compare(zip(references, given, strict=True))]
            for way, given in found.items()
        }
    changed = sum(a != b for a, b in zip(found["published"], found["balanced"], strict=True))
    return {
        "answers changed by balanced braces and lists of boxes": changed,
        "share of answers changed": changed / len(samples),
        "accuracy, published regex": sum(right["published"]) / len(samples),
        "accuracy, balanced braces and lists of boxes": sum(right["balanced"]) / len(samples),
    }


def boxes(samples: Sequence[Sample]) -> Figures:
    """Answers that stop a chain while it still thinks, and boxes with nothing in them."""
    texts = [joined(sample) for sample in samples]
    boxed = [text for text in texts if "\\boxed{" in text]
    thinking = sum("</think>" not in text[: text.index("\\boxed{")] for text in boxed)
    return {
        "samples with a box": len(boxed),
        "first box before the end of thinking": thinking,
        "samples with an empty box": sum("\\boxed{}" in text for text in texts),
        "of them without any other answer": sum("\\boxed{}" in text and not find_boxed(text) for text in texts),
    }


def rejection(samples: Sequence[Sample]) -> Figures:
    """Share of scored chunks that the target continued, by turn; nominal: 0.4."""
    scored, rejected = Counter[str](), Counter[str]()
    for sample in samples:
        for number, turn in enumerate(sample["turns"]):
            if turn["ppl"] is not None:
                for name in ("all turns", f"turn {number}" if number < 5 else "turns 5-9" if number < 10 else "10-14"):
                    scored[name] += 1
                    rejected[name] += turn["target_text"] is not None
    return {f"rejected, {name}": rejected[name] / scored[name] for name in scored}


def barrier(samples: Sequence[Sample]) -> Figures:
    """Idle slots when a question's samples wait for its slowest, and what one queue would save."""
    by_question: dict[int, list[float]] = defaultdict(list)
    for sample in samples:
        by_question[sample["question_id"]].append(sample["duration"])
    waiting = sum(map(max, by_question.values()))
    work = sum(map(sum, by_question.values()))
    free = [0.0] * SLOTS
    for duration in itertools.chain(*by_question.values()):
        heapq.heappush(free, heapq.heappop(free) + duration)
    return {"idle share of the slots": 1 - work / (SLOTS * waiting), "wall time against one queue": waiting / max(free)}


def measure(data: Path, name: str) -> Figures:
    samples = read_recording(data / "traces" / f"traces_math500_{name}.jsonl.gz")
    questions = datasets.load("math500", data_dir=data / "hub")
    truth = {question.problem: question.answer for question in questions}
    parts: list[Callable[[Sequence[Sample]], Figures]] = [
        *(answered_drafts, boundaries, boxes, rejection, barrier),
        *(first_chunks, sums),
    ]
    figures = {"samples": float(len(samples)), **answers(samples, truth)}
    for part in parts:
        figures |= part(samples)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recordings", nargs="+", default=["ct1", "nonct"])
    args = parser.parse_args()
    try:
        found = {name: measure(args.data, name) for name in args.recordings}
    except UserError as problem:
        sys.exit(console.fail(problem))
    rows = list(dict.fromkeys(itertools.chain(*found.values())))
    print(f"| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for row in rows:
        values = (figures.get(row) for figures in found.values())
        print(f"| {row} | {' | '.join('' if value is None else f'{value:.4g}' for value in values)} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
