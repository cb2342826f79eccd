"""Stage 2: perplexity of a chunk under the target."""

import math
from collections.abc import Sequence

from ATTS.errors import ScoreFailed


def perplexity(logprobs: Sequence[float | None], expected: int) -> float:
    """exp(-mean log p) of a chunk's ``expected`` tokens, the first included (paper, section 3).

    ``logprobs`` are natural logarithms, one a token. Raises ScoreFailed when there are not exactly
    ``expected`` of them or when one is missing, positive or not finite, or the result overflows:
    a failed score is never a number.
    """
    if expected < 1:
        raise ScoreFailed("the chunk has no tokens to score")
    if len(logprobs) != expected:
        raise ScoreFailed(f"{len(logprobs)} log-probabilities came back for {expected} tokens")
    total = 0.0
    for position, value in enumerate(logprobs):
        if value is None or not math.isfinite(value) or value > 1e-3:  # rounding may exceed 0 by a hair
            raise ScoreFailed(f"log-probability {position} of {expected} is {value}")
        total += value
    try:
        return math.exp(-total / expected)
    except OverflowError:
        raise ScoreFailed(f"perplexity overflows: mean log-probability {total / expected}") from None
