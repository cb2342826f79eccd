"""Accuracy and counts from samples."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.demo.evaluate import auroc
from ATTS.runs import metrics


def sample(index: int, answer: str) -> dict[str, Any]:
    return {"problem_index": index, "final_answer": answer, "exit_status": "answered", "full_history": []}


def test_accuracy_groups_by_index_so_gaps_shift_nothing() -> None:
    """Repeats 2; question 0 lacks its second sample, question 1 its first, question 2 is right by vote."""
    found = [sample(0, "1"), sample(3, "invalid"), sample(4, "7"), sample(5, "7")]
    result = metrics.accuracy(found, metrics.grade(found, ["1", "5", "7", "7"]), repeats=2)
    assert result["questions"] == 3
    assert result["mean_accuracy"] == 0.75
    assert result["pass_at_2"] == pytest.approx(2 / 3)
    assert result["majority"] == pytest.approx(2 / 3)
    assert result["unanswered"] == 1


def test_the_majority_counts_answers_and_not_their_correctness() -> None:
    found = [sample(0, "1"), sample(1, "2"), sample(2, "2"), sample(3, "invalid"), sample(4, "invalid")]
    result = metrics.accuracy(found, metrics.grade(found, ["1"] * 5), repeats=5)
    assert (result["mean_accuracy"], result["pass_at_5"], result["majority"]) == (0.2, 1.0, 0.0)


def test_an_interval_covers_the_mean_of_clustered_samples() -> None:
    """Over 200 simulated runs of 40 questions by 8 repeats whose repeats agree, 95 % intervals cover about 95 %."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        chances = rng.beta(0.5, 0.5, size=40)  # expectation 0.5, strongly clustered by question
        means = rng.binomial(8, chances) / 8
        low, high = metrics.interval(means, np.full(40, 8))
        assert low is not None
        assert high is not None
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_one_question_has_no_interval() -> None:
    assert metrics.interval(np.array([0.5]), np.array([4])) == (None, None)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auroc_is_the_chance_that_a_positive_scores_higher(positive: list[int], negative: list[int]) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auroc(positive, negative) == pytest.approx(wins / (len(positive) * len(negative)))
