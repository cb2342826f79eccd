"""The demo's problems: right chains are right, every departure is found, splits are disjoint."""

import itertools
import random

import pytest
import solutions
from hypothesis import given
from hypothesis import strategies as st
from solutions import BREAK

from ATTS.demo import family
from ATTS.tasks.answers import find_answer

seeds = st.integers(0, 10**9)


def problem_of(seed: int) -> family.Problem:
    return family.draw(random.Random(seed))


@given(seeds)
def test_a_question_gives_its_problem_back(seed: int) -> None:
    problem = problem_of(seed)
    assert solutions.parse(problem.question) == problem


@given(seeds)
def test_every_running_value_has_two_digits_and_the_answer_stands_in_the_box(seed: int) -> None:
    problem = problem_of(seed)
    assert 4 <= len(problem.events) <= 8
    assert all(family.LOW <= value <= family.HIGH for value in problem.values)
    assert find_answer(solutions.solution(problem), ended=True) == problem.answer


@given(seeds, st.data())
def test_every_beginning_of_the_right_chain_is_right(seed: int, data: st.DataObject) -> None:
    problem = problem_of(seed)
    cut = data.draw(st.integers(0, len(solutions.solution(problem))))
    assert solutions.wrong_spans(problem, solutions.solution(problem)[:cut]) == []


@given(seeds, st.data())
def test_a_changed_character_is_where_the_wrong_span_begins(seed: int, data: st.DataObject) -> None:
    problem = problem_of(seed)
    digits = [i for i, character in enumerate(solutions.solution(problem)) if character.isdigit()]
    spot = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != solutions.solution(problem)[spot]]))
    chain = solutions.solution(problem)[:spot] + other + solutions.solution(problem)[spot + 1 :]
    assert solutions.wrong_spans(problem, chain)[0][0] == spot


@given(seeds, st.data())
def test_a_correction_ends_what_is_wrong(seed: int, data: st.DataObject) -> None:
    problem = problem_of(seed)
    right = solutions.paragraphs(problem)
    i = data.draw(st.integers(0, len(problem.events) - 1))
    wrong = solutions.step(problem.events[i], problem.values[i], problem.values[i + 1] + 100)
    back = data.draw(st.integers(0, i))
    chain = BREAK.join([*right[:i], wrong, solutions.corrections(problem)[back], *right[back:]])
    spans = solutions.wrong_spans(problem, chain)
    assert len(spans) == 1
    assert chain[slice(*spans[0])] in wrong


@given(seeds, st.data())
def test_a_step_broken_off_by_a_right_correction_is_not_wrong(seed: int, data: st.DataObject) -> None:
    problem = problem_of(seed)
    right = solutions.paragraphs(problem)
    i = data.draw(st.integers(0, len(right) - 1))
    cut = data.draw(st.integers(1, len(right[i]) - 1))
    back = min(i, len(problem.events))
    chain = BREAK.join([*right[:i], right[i][:cut], solutions.corrections(problem)[back], *right[back:]])
    assert solutions.wrong_spans(problem, chain) == []


@given(seeds, st.data())
def test_a_correction_to_a_place_not_yet_reached_or_with_a_wrong_value_is_wrong(seed: int, data: st.DataObject) -> None:
    problem = problem_of(seed)
    i = data.draw(st.integers(0, len(problem.events) - 1))
    ahead = solutions.corrections(problem)[i + 1]
    assert solutions.wrong_spans(problem, BREAK.join([*solutions.paragraphs(problem)[:i], ahead]))
    assert solutions.wrong_spans(problem, BREAK.join([*solutions.paragraphs(problem)[: i + 1], f"{ahead[:-2]}?."]))


def test_steps_that_build_on_a_wrong_value_are_wrong_too() -> None:
    problem = solutions.parse(
        "Ada has 50 pens.\nJanuary 10 bought.\nFebruary 20 sold.\nMarch 30 won.\nApril 15 found.\n"
        "How many pens does Ada have?"
    )
    chain = "January 10 bought, 50 + 10 = 61.\n\nFebruary 20 sold, 61 - 20 = 41."
    assert [chain[a:b] for a, b in solutions.wrong_spans(problem, chain)] == ["1", "1 - 20 = 41"]


def test_splits_share_no_problem_and_one_seed_draws_the_same_again() -> None:
    drawn = {
        split: [p.question for p in itertools.islice(family.problems(split, seed=3), 400)]
        for split in ("train", "calibration", "test")
    }
    assert not set(drawn["train"]) & set(drawn["test"])
    assert not set(drawn["calibration"]) & set(drawn["test"])
    assert drawn["test"] == [p.question for p in itertools.islice(family.problems("test", seed=3), 400)]
    assert drawn["test"] != [p.question for p in itertools.islice(family.problems("test", seed=4), 400)]


def test_a_question_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="not a demo question"):
        solutions.parse("What is 2 + 2?")
