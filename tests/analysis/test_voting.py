"""Votes of finished folders, paired with the majority; how much a confidence is worth."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis import confidence, intervals, voting
from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.analysis.grading import by_math
from ATTS.errors import UserError
from ATTS.flags import make


def sample(index: int, answer: str, yes: float | None, ppl: float | None = None) -> dict[str, Any]:
    history = [] if ppl is None else [{"turn": 0, "model": "eval_ppl", "ppl": ppl}, {"turn": 1, "model": "small"}]
    told = None if yes is None else {"target": {"yes": yes / 2, "no": (1 - yes) / 2}}  # tokens but Yes and No: a half
    return {
        "schema": 1,
        "problem_index": index,
        "question_index": index // 3,
        "final_answer": answer,
        "reference_answer": "1",
        "exit_status": "answered",
        "duration_seconds": 1.0,
        "usage": {},
        "full_history": history,
        **({"confidence": told} if told else {}),
    }


# Three samples of three questions: the majority is right in the first, confidence in the second, both in the third.
FOUND = [
    *(sample(0, "1", 0.2), sample(1, "1", 0.2), sample(2, "2", 0.3)),
    *(sample(3, "1", 0.9), sample(4, "2", 0.1), sample(5, "2.0", 0.2)),
    *(sample(6, "1", 0.6), sample(7, "invalid", 0.99), sample(8, r"\frac{2}{2}", None)),
]


def reported(*votes: str) -> dict[str, Any]:
    return voting.report(by_math(FOUND, ["1"] * 9, 3), FOUND, voting.names(votes), None)


def test_votes_are_compared_question_by_question() -> None:
    found = reported("weighted", "best_of_n")
    assert {vote: one["accuracy"] for vote, one in found["votes"].items()} == pytest.approx(
        {"majority": 2 / 3, "weighted": 1.0, "best_of_n": 2 / 3}
    )
    # of the three questions best_of_n loses the first and wins the second
    told = found["votes"]["best_of_n"]["difference"]
    assert (told["difference"], told["low"], told["high"]) == (0.0, *intervals.difference([-1, 1, 0]))
    assert found["confidence"] == "target"


def test_the_table_stands_under_the_grades(tmp_path: Path) -> None:
    for one in FOUND:
        (tmp_path / f"problem_{one['problem_index']:04d}.json").write_text(json.dumps(one))
    settings = make(AccuracySettings, output_dir=tmp_path, votes=("weighted,best_of_n",))
    told = asyncio.run(grade(settings))
    assert "| weighted | 100.0 %" in told
    assert "(confidence: target; calibration error" in told
    with pytest.raises(UserError, match="no sample holds the confidence that --vote_confidence draft"):
        asyncio.run(grade(make(AccuracySettings, output_dir=tmp_path, votes=("weighted",), vote_confidence="draft")))
    with pytest.raises(ValueError, match="--votes 'best' is none of majority, weighted, best_of_n"):
        make(AccuracySettings, output_dir=tmp_path, votes=("best",))


def test_without_confidences_only_counts_vote() -> None:
    found = [sample(i, "1", None) for i in range(3)]
    graded = by_math(found, ["1"] * 3, 3)
    assert voting.report(graded, found, ["majority"], None)["votes"]["majority"]["accuracy"] == 1.0
    with pytest.raises(UserError, match="hold no confidence to vote by: run with --confidence"):
        voting.report(graded, found, ["majority", "weighted"], None)


def test_a_chains_worst_perplexity_is_a_confidence_between_0_and_1() -> None:
    assert voting.told(sample(0, "1", None, ppl=4.0), "ppl") == 0.25
    assert voting.told(sample(0, "1", None), "ppl") is None
    assert voting.told(sample(0, "1", None, ppl=math.inf), "ppl") is None


scored = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans(), st.integers(0, 5)), min_size=1)


@given(scored)
def test_qualities_are_what_they_say(rows: list[tuple[float, bool, int]]) -> None:
    values, right, questions = map(list, zip(*rows, strict=True))
    found = confidence.quality(values, right, questions)
    assert 0 <= found["ece"] <= 1
    if len(set(right)) == 2:
        above, below = ([v for v, one in zip(values, right, strict=True) if one is side] for side in (True, False))
        assert found["auroc"] == pytest.approx(np.mean([(a > b) + (a == b) / 2 for a in above for b in below]))
    else:
        assert found["auroc"] is found["auroc_within"] is None
    points, heights = confidence.isotonic(values, right)
    assert (np.diff(heights) >= -1e-12).all()
    assert confidence.ece(np.interp(values, points, heights), right) <= found["ece"] + 1e-9


def test_what_tells_hard_questions_only_is_worth_nothing_within_one() -> None:
    """Question by question the same confidence for all samples: good over all, one half within."""
    rng = np.random.default_rng(0)
    questions = np.repeat(np.arange(200), 8)
    hard = np.repeat(rng.random(200), 8)
    right = rng.random(1600) > hard
    found = confidence.quality(1 - hard, right, questions)
    assert found["auroc"] > 0.75
    assert found["auroc_within"] == 0.5
    skewed = confidence.quality((1 - hard) ** 4, right, questions)  # too low: isotonic regression mends it
    assert skewed["ece"] > 0.2 > 0.08 > skewed["ece_isotonic"]
