"""Questions in groups, and what is drawn from what was said, for runs of calibration kinds."""

import random
from hashlib import sha256

from ATTS.tasks.datasets import Question

PAIR = {"small_model_name": "d", "eval_model_name": "t"}
QUESTIONS = [Question(i, f"question {i}", str(i), group="even" if i % 2 == 0 else "odd") for i in range(5)]


def chance(*of: object) -> random.Random:
    """What follows from the same things is the same."""
    return random.Random(sha256(repr(of).encode()).hexdigest())
