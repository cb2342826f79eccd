"""Accuracy and counts from samples."""

import asyncio
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import guarantees_simulated
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure import auroc
from scipy import stats

from ATTS.analysis import intervals
from ATTS.analysis.accuracy import accuracy, ks, majority_at_k, pass_at_k
from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.analysis.grading import by_math
from ATTS.flags import make


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


def test_the_questions_whose_samples_differ_are_named(tmp_path: Path) -> None:
    """Some of their samples are right and some are not; all right or all wrong is no difference."""
    answers = {0: ("1", "1"), 1: ("1", "2"), 2: ("8", "9"), 3: ("invalid", "1")}
    for question, given_answers in answers.items():
        for repeat, answer in enumerate(given_answers):
            one = {**sample(2 * question + repeat, answer), "question_index": question, "repeat": repeat}
            one |= {"reference_answer": "1", "question": f"question {question}", "question_id": str(question)}
            (tmp_path / f"problem_{2 * question + repeat:04d}.json").write_text(json.dumps(one))
    rows = ({"problem": f"question {question}", "answer": "1"} for question in answers)
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {"output_dir": tmp_path, "dataset_name": str(tmp_path / "data.jsonl"), "repeats": 2}
    told = asyncio.run(grade(make(AccuracySettings, **flags, per_question=True)))
    assert told.splitlines()[-1] == "samples differ, some right and some not, on 2 questions: 1, 3"
    assert "samples differ" not in asyncio.run(grade(make(AccuracySettings, **flags)))


def test_the_majority_counts_answers_by_what_they_mean_and_not_by_correctness() -> None:
    """Samples without an answer don't vote; 0.5 and 1/2 are one vote, and so are all forms of the right answer."""
    result = graded({0: "1", 1: "0.5", 2: r"\frac{1}{2}", 3: "invalid", 4: "invalid"}, ["1"], 5)
    assert (result["mean_accuracy"], result["pass_at_k"]["5"], result["majority_at_k"]["5"]) == (0.2, 1.0, 0.0)
    assert graded({0: "0.25", 1: "1/4", 2: "7", 3: "8"}, ["1/4"], 4)["majority_at_k"]["4"] == 1.0


def test_answers_that_mean_the_same_are_one_vote_whatever_other_questions_hold() -> None:
    """Of two forms the more frequent one stands first, which differs from question to question."""
    answers = {0: "2", 1: "2", 2: "2.0", 3: "1", 4: "2.0", 5: "2.0", 6: "2", 7: "1"}
    found = by_math([sample(index, answer) for index, answer in answers.items()], ["7"] * 8, 4)
    assert [one.vote for one in found] == ["2", "2", "2", "1", "2.0", "2.0", "2.0", "1"]


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


def test_intervals_cover_near_one_where_the_bootstrap_does_not() -> None:
    """The short form of the table in docs/GUARANTEES.md: 15 questions, where little is seen of rare failures."""
    for repeats, truth in ((1, 0.99), (16, 0.98), (16, 0.5)):
        figures = guarantees_simulated.accuracies(15, repeats, truth, runs=60)
        assert min(figures["mean accuracy"], figures["pass@k"]) >= 0.9, figures
    assert guarantees_simulated.accuracies(15, 16, 0.99, runs=60)["pass@k, by bootstrap"] < 0.5
    for pair in ((0.98, 0.98), (0.95, 0.99)):
        assert guarantees_simulated.differences(15, 1, *pair, runs=60)["covered"] >= 0.9


def test_questions_that_are_all_right_leave_as_much_open_as_their_number() -> None:
    """By the rule of three 48 of 48 leave 6 %, by 97.5 % on one side 7.4 %, whatever the repeats of each."""
    for repeats in (1, 4, 16):
        found = intervals.interval([True] * 48 * repeats, np.repeat(np.arange(48), repeats))
        assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 48)), 1.0)
    result = graded(dict.fromkeys(range(96), "1"), ["1"] * 48, 2)
    assert result["low"] == result["intervals"]["pass_at_k"]["2"][0] == pytest.approx(0.926, abs=1e-3)
    low, high = intervals.difference([0.0] * 48)
    assert -0.1 < low < 0 < high < 0.1


def test_independent_values_have_the_interval_of_clopper_and_pearson() -> None:
    """SciPy's own, for one value a question."""
    for right in (0, 3, 14, 15):
        exact = stats.binomtest(right, 15).proportion_ci(method="exact")
        found = intervals.interval([1] * right + [0] * (15 - right), range(15))
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=12))
def test_a_question_counts_once_at_least_and_its_samples_at_most(by_question: list[list[int]]) -> None:
    values = [value for question in by_question for value in question]
    questions = [number for number, question in enumerate(by_question) for _ in question]
    worth = intervals.worth(values, questions)
    assert len(values) ** 2 / sum(len(q) ** 2 for q in by_question) - 1e-9 <= worth <= len(values) + 1e-9


def test_one_question_tells_nothing() -> None:
    found = intervals.interval([1, 1, 0, 0], [0] * 4)
    assert (found.low, found.high) == (0, 1)
    assert intervals.difference([0.5]) == (-1, 1)
    assert intervals.ratio([1.0], [2.0]) is None
    assert accuracy([], 2)["low"] is None


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auroc_is_the_chance_that_a_positive_scores_higher(positive: list[int], negative: list[int]) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auroc(positive, negative) == pytest.approx(wins / (len(positive) * len(negative)))
