"""Stage 2: what a chunk's log-probabilities under the target amount to. Every score is higher for worse chunks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ATTS.errors import ScoreFailed

ScoreName = Literal["mean", "sum"]
HAIR = 1e-3  # rounding may take a log-probability above 0 by so much


@dataclass(frozen=True, slots=True)
class Score:
    """One way to score a chunk. ``of`` takes the natural log-probabilities of its tokens, all at most 0."""

    name: ScoreName
    key: str  # in result files
    least: float  # no score is smaller
    of: Callable[[Sequence[float]], float]

    def __call__(self, logprobs: Sequence[float | None], expected: int) -> float:
        """The score of a chunk of ``expected`` tokens. Raises ScoreFailed, as :func:`checked` does, and when the
        result overflows: a failed score is never a number."""
        values = checked(logprobs, expected)
        try:
            score = self.of(values)
        except OverflowError:
            score = math.inf
        if not math.isfinite(score):
            raise ScoreFailed(f"the score ({self.name}) overflows: log-probabilities down to {min(values)}")
        return score


def checked(logprobs: Sequence[float | None], expected: int) -> list[float]:
    """The log-probabilities of a chunk's ``expected`` tokens, the first included. Raises ScoreFailed when there are
    not exactly ``expected`` of them or when one is missing, positive or not finite."""
    if expected < 1:
        raise ScoreFailed("the chunk has no tokens to score")
    if len(logprobs) != expected:
        raise ScoreFailed(f"{len(logprobs)} log-probabilities came back for {expected} tokens")
    values = []
    for position, value in enumerate(logprobs):
        if value is None or not math.isfinite(value) or value > HAIR:
            raise ScoreFailed(f"log-probability {position} of {expected} is {value}")
        values.append(min(value, 0.0))
    return values


def _perplexity(values: Sequence[float]) -> float:
    """exp(-mean log p): the published code's score."""
    return math.exp(-sum(values) / len(values))


def _negative_log_likelihood(values: Sequence[float]) -> float:
    """-sum log p: the paper's loss, unnormalised (section 3; its score is the negative)."""
    return abs(sum(values))


MEAN = perplexity = Score("mean", "ppl", 1.0, _perplexity)
SUM = Score("sum", "sum", 0.0, _negative_log_likelihood)
SCORES: dict[str, Score] = {score.name: score for score in (MEAN, SUM)}


def perplexity_if_any(logprobs: Sequence[float | None]) -> float | None:
    """The perplexity of a chunk that has another score; None if it overflows."""
    try:
        return perplexity(logprobs, len(logprobs))
    except ScoreFailed:
        return None


def recorded(entry: Mapping[str, Any]) -> float | None:
    """The score that decided an entry of a result file; perplexity stands there beside any other score."""
    others = (entry[score.key] for score in SCORES.values() if score is not MEAN and score.key in entry)
    score = next(others, entry.get(MEAN.key))
    return None if score is None else float(score)
