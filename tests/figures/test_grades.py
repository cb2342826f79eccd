"""Whether a graded step was wrong is decided by the demo's problems."""

from typing import Any

from demo_grades import described, graded_steps

from ATTS.demo import family


def test_a_step_is_wrong_if_it_holds_a_wrong_span_and_is_looked_at_behind_what_was_kept() -> None:
    problem = next(family.problems("test", 5))
    right, bad = problem.paragraphs[0], problem.events[1].step(problem.values[1], problem.values[2] + 1)
    history: list[dict[str, Any]] = [
        {"model": "small", "output": right + family.BREAK},
        {"model": "eval_score", "accepted": True},
        {"model": "small_discarded", "discarded": bad},
        {"model": "eval_score", "accepted": False},
        {"model": "eval_generate", "output": problem.paragraphs[1] + family.BREAK},
        {"model": "small", "output": problem.paragraphs[2] + family.BREAK},
        {"model": "eval_score", "accepted": True},
        {"model": "small_discarded", "discarded": "cut off before it was graded"},
    ]
    steps = list(graded_steps({"question": problem.question, "full_history": history}))
    assert steps == [(False, True), (True, False), (False, True)]
    assert described(steps) == "right steps: 2 graded, 100.0 % accepted\nwrong steps: 1 graded, 0.0 % accepted"
