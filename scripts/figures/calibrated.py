"""What a recorded run's scores are compared with: which first chunks, and which score.

Figures for :mod:`scripts/figures/fidelity.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.method.conformal import forms
from ATTS.tasks.answers import find_answer

RATE, SAMPLES, SPLITS = 0.4, 16, 2000


def first_chunks(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """First chunks that answer: how many, and the rate of the others by arrays with and without them.

    Calibrated on half of the questions and tested on the other half's chunks that don't answer, the only ones
    that a run scores, and the other way round. In the place of a chunk that answers, another is drawn: of the
    same question, so that all have 16 scores, or of any, so that a question has as many as a run would score.
    """
    drafts = [(s["question_id"], s["turns"][0]) for s in samples if s["turns"][0]["ppl"] is not None]
    question = np.array([number for number, _ in drafts])
    score = np.array([turn["ppl"] for _, turn in drafts])
    answers = np.array([find_answer(turn["draft_text"], False) is not None for _, turn in drafts])
    rng, everyone = np.random.default_rng(0), np.unique(question)
    own = {number: score[(question == number) & ~answers] for number in everyone}
    rates: dict[str, list[float]] = {
        name: []
        for name in ("all first chunks", "others of the same question instead", "others of any question instead")
    }
    for _ in range(SPLITS):
        half = np.isin(question, rng.permutation(everyone)[: len(everyone) // 2])
        for fitted in (half, ~half):
            kept = score[fitted & ~answers]
            of_each = [rng.choice(own[q], SAMPLES) for q in np.unique(question[fitted]) if len(own[q])]
            of_any = np.append(kept, rng.choice(kept, (fitted & answers).sum()))
            arrays = (score[fitted], np.concatenate(of_each), of_any)
            for name, array in zip(rates, arrays, strict=True):
                rates[name].append(_rejected(array, score[~fitted & ~answers]).mean())
    return {
        "first chunks that answer": int(answers.sum()),
        "share of first chunks that answer": float(answers.mean()),
        "questions all of whose first chunks answer": sum(not len(scores) for scores in own.values()),
        **{f"rejected at turn 0, calibrated on {name}": float(np.mean(found)) for name, found in rates.items()},
    }


def sums(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Sums of log-probabilities beside their means, each calibrated by its own first chunks.

    A recording holds no token counts, so a chunk's sum is taken as its mean times its characters.
    """
    turns = [(number, turn) for s in samples for number, turn in enumerate(s["turns"]) if turn["ppl"] is not None]
    first = np.array([number == 0 for number, _ in turns])
    mean = np.log([turn["ppl"] for _, turn in turns])
    total = mean * [len(turn["draft_text"]) for _, turn in turns]
    ranks = [np.searchsorted(np.sort(x[first]), x) for x in (mean, total)]
    decisions = [_rejected(x[first], x) for x in (mean, total)]
    return {
        "share of chunks whose rank by sum is another by more than one": float(np.mean(abs(ranks[0] - ranks[1]) > 1)),
        "share of decisions by sum that differ": float(np.mean(decisions[0] != decisions[1])),
    }


def _rejected(array: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The decisions of :class:`ATTS.method.conformal.CalibrationSet` at once."""
    return np.searchsorted(np.sort(array), scores) >= forms.threshold(len(array), RATE, "published")
