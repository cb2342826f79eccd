"""Accuracy and counts from samples."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure import auroc

from ATTS.analysis.accuracy import accuracy, interval, ks, majority_at_k, pass_at_k
from ATTS.analysis.grading import by_math


def sample(index: int, answer: str) -> dict[str, Any]:
    return {"problem_index": index, "final_answer": answer, "exit_status": "answered", "full_history": []}


def graded(answers: dict[int, str], references: list[str], repeats: int) -> dict[str, Any]:
    found = [sample(index, answer) for index, answer in answers.items()]
    return accuracy(by_math(found, [references[i // repeats] for i in answers], repeats), repeats)


def test_accuracy_groups_by_index_so_gaps_shift_nothing() -> None:
    """Repeats 2; question 0 lacks its second sample, question 1 its first, question 2 is right by vote."""
    result = graded({0: "1", 3: "invalid", 4: "7", 5: "7"}, ["1", "5", "7"], 2)
    assert result["questions"] == 3
    assert result["mean_accuracy"] == 0.75
    assert result["pass_at_k"] == pytest.approx({"1": 2 / 3, "2": 2 / 3})
    assert result["majority_at_k"] == pytest.approx({"1": 2 / 3, "2": 2 / 3})
    assert result["unanswered"] == 1
    assert [row["question_index"] for row in result["per_question"]] == [0, 1, 2]
    assert [(row["right"], row["samples"]) for row in result["per_question"]] == [(1, 1), (0, 1), (2, 2)]


def test_the_majority_counts_answers_by_what_they_mean_and_not_by_correctness() -> None:
    """Samples without an answer don't vote; 0.5 and 1/2 are one vote, and so are all forms of the right answer."""
    result = graded({0: "1", 1: "0.5", 2: r"\frac{1}{2}", 3: "invalid", 4: "invalid"}, ["1"], 5)
    assert (result["mean_accuracy"], result["pass_at_k"]["5"], result["majority_at_k"]["5"]) == (0.2, 1.0, 0.0)
    assert graded({0: "0.25", 1: "1/4", 2: "7", 3: "8"}, ["1/4"], 4)["majority_at_k"]["4"] == 1.0


def test_equally_frequent_answers_share_the_vote() -> None:
    assert graded({0: "1", 1: "2"}, ["1"], 2)["majority_at_k"]["2"] == 0.5


def test_ks_double_up_to_the_repeats() -> None:
    assert (ks(1), ks(16), ks(6)) == ([1], [1, 2, 4, 8, 16], [1, 2, 4, 6])


@given(st.integers(0, 4), st.lists(st.integers(1, 3), max_size=3), st.integers(0, 2), st.integers(1, 6))
def test_pass_and_majority_at_k_are_means_over_all_draws(right: int, others: list[int], silent: int, k: int) -> None:
    """By brute force over every set of k samples."""
    votes = ["right"] * right + [f"wrong {i}" for i, size in enumerate(others) for _ in range(size)] + [None] * silent
    if not votes:
        return
    passes, majorities = [], []
    for drawn in itertools.combinations(votes, min(k, len(votes))):
        counts = Counter(vote for vote in drawn if vote)
        best = [vote for vote, count in counts.items() if count == max(counts.values())]
        passes.append("right" in drawn)
        majorities.append(("right" in best) / len(best) if best else 0)
    assert pass_at_k(len(votes), right, k) == pytest.approx(np.mean(passes))
    assert majority_at_k(right, others, silent, k) == pytest.approx(np.mean(majorities))


def test_an_interval_covers_the_mean_of_clustered_samples() -> None:
    """Over 200 simulated runs of 40 questions by 8 repeats whose repeats agree, 95 % intervals cover about 95 %."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        chances = rng.beta(0.5, 0.5, size=40)  # expectation 0.5, strongly clustered by question
        means = rng.binomial(8, chances) / 8
        low, high = interval(means, np.full(40, 8))
        assert low is not None
        assert high is not None
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_one_question_has_no_interval() -> None:
    assert interval(np.array([0.5]), np.array([4])) == (None, None)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auroc_is_the_chance_that_a_positive_scores_higher(positive: list[int], negative: list[int]) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auroc(positive, negative) == pytest.approx(wins / (len(positive) * len(negative)))
