"""Whether a graded step was wrong is decided by the demo's problems."""

from typing import Any

import solutions
from grades import described, graded_steps
from solutions import BREAK

from ATTS.demo import family


def test_a_step_is_wrong_if_it_holds_a_wrong_span_and_is_looked_at_behind_what_was_kept() -> None:
    problem = next(family.problems("test", 5))
    first, second, third, *_ = solutions.paragraphs(problem)
    bad = solutions.step(problem.events[1], problem.values[1], problem.values[2] + 1)
    history: list[dict[str, Any]] = [
        {"model": "small", "output": first + BREAK},
        {"model": "eval_score", "accepted": True},
        {"model": "small_discarded", "discarded": bad},
        {"model": "eval_score", "accepted": False},
        {"model": "eval_generate", "output": second + BREAK},
        {"model": "small", "output": third + BREAK},
        {"model": "eval_score", "accepted": True},
        {"model": "small_discarded", "discarded": "cut off before it was graded"},
    ]
    steps = list(graded_steps({"question": problem.question, "full_history": history}))
    assert steps == [(False, True), (True, False), (False, True)]
    assert described(steps) == "right steps: 2 graded, 100.0 % accepted\nwrong steps: 1 graded, 0.0 % accepted"
