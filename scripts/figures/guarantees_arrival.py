"""A budget as a mean and as a bound, on recorded runs in the order in which servers would have answered.

A rejected chunk delays its sample by what the target writes. A token counts as four letters; one
of the target takes ``TARGET`` times as long as one of the draft, and a scoring ``SCORING`` of them.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ATTS.method.conformal import Decision
from ATTS.method.conformal.bound import Bound, QuestionBudget
from ATTS.method.types import Stage
from ATTS.store.records import Record

Figures = dict[str, Any]
TARGET, SCORING, LETTERS = 4.0, 15.0, 4
REPEATS, BUDGET = 16, 4


class Chunk(NamedTuple):
    """A scored chunk. ``taken``: chunks of its sample that went to the target before."""

    question: int
    turn: int
    taken: int
    score: float


def in_order(found: Sequence[Record], in_flight: int, seed: int) -> list[Chunk]:
    """All scored chunks, repeat by repeat over questions in a drawn order, ``in_flight`` samples at once."""
    rng = np.random.default_rng(seed)
    questions = sorted({_question(sample) for sample in found})
    place = dict(zip(rng.permutation(questions).tolist(), range(len(questions)), strict=True))
    waiting = iter(sorted(found, key=lambda s: (s["problem_index"] % REPEATS, place[_question(s)])))
    heap: list[tuple[float, int, Chunk, Iterator[tuple[float, Chunk]]]] = []
    order: list[Chunk] = []
    number = 0

    def begin(now: float) -> None:
        nonlocal number
        for sample in waiting:
            number += 1
            steps = _steps(sample)
            first = next(steps, None)
            if first is not None:
                heapq.heappush(heap, (now + first[0], number, first[1], steps))
                return

    for _ in range(in_flight):
        begin(0.0)
    while heap:
        now, own, chunk, steps = heapq.heappop(heap)
        order.append(chunk)
        following = next(steps, None)
        if following is None:
            begin(now)
        else:
            heapq.heappush(heap, (now + following[0], own, following[1], steps))
    return order


def _question(sample: Record) -> int:
    return int(sample.get("question_index", sample["problem_index"] // REPEATS))


def _steps(sample: Record) -> Iterator[tuple[float, Chunk]]:
    """The scored chunks of a sample, each with the time since the one before."""
    time, taken = 0.0, 0
    for entry in sample["full_history"]:
        if entry["model"] == Stage.SCORE.value:
            if entry.get("ppl") is not None:
                yield time + SCORING, Chunk(_question(sample), entry["turn"], taken, entry["ppl"])
                time = 0.0
            continue
        written = len(entry.get("output") or "") / LETTERS
        if entry["model"] == Stage.CONTINUE.value:
            taken, written = taken + 1, TARGET * written
        time += written


def budgets(found: Sequence[Record], orders: int, in_flight: int = 20) -> Figures:
    """``BUDGET`` of ``REPEATS`` by a threshold on all first chunks: as a mean, and as a bound."""
    figures: dict[str, list[float]] = {}
    first = np.sort([c.score for c in in_order(found, 1, 0) if c.turn == 0])
    threshold = first[int(np.ceil((1 - BUDGET / REPEATS) * len(first))) - 1]
    for seed in range(orders):
        order = in_order(found, in_flight, seed)
        for name, most in (("mean", REPEATS), ("bound", BUDGET)):
            budgets = {chunk.question: QuestionBudget(most) for chunk in order}
            for chunk in order:
                Bound(_Above(threshold), budgets[chunk.question])(chunk.score, chunk.turn)
            places = {(chunk.question, chunk.turn) for chunk in order}
            spent = np.array([budgets[question].spent[turn] for question, turn in places])
            figures.setdefault(f"{name}: question-turns over {BUDGET}", []).append(float((spent > BUDGET).mean()))
            figures.setdefault(f"{name}: rate", []).append(float(spent.sum() / len(order)))
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    return means | {"reached": means[f"bound: question-turns over {BUDGET}"] == 0}


class _Above:
    """Rejects what scores above a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, score: float, turn: int) -> Decision:  # noqa: ARG002 - one threshold for every turn
        return Decision(None, score > self.threshold)
