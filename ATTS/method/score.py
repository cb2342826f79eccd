"""Stage 2: what a chunk's log-probabilities under the target amount to. Every score is higher for worse chunks.

A mean over a chunk hides the one wrong token in it: a chunk that ended in "-6 + 0 - 35 = -39" had perplexity 1.12.
Hence the scores of a chunk's worst part.
"""

import functools
import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ATTS.errors import ScoreFailed

ScoreName = Literal["mean", "sum", "worst_window", "worst_token", "regret"]
HAIR = 1e-3  # rounding may take a log-probability above 0, or that of the likeliest token, by so much
WINDOW = 5  # tokens
REGRETS = 3  # tokens


@dataclass(frozen=True, slots=True)
class Score:
    """One way to score a chunk. ``of`` takes the natural log-probabilities of its tokens, all at most 0; with
    ``needs_best``: each less that of the token that the target finds likeliest there."""

    name: ScoreName
    key: str  # in result files
    least: float  # no score is smaller
    of: Callable[[Sequence[float]], float]
    needs_best: bool = False

    def __call__(
        self, logprobs: Sequence[float | None], expected: int, best: Sequence[float | None] | None = None
    ) -> float:
        """The score of a chunk of ``expected`` tokens. ``best``: log-probabilities of the likeliest tokens. Raises
        ScoreFailed, as :func:`checked` does, and when the result overflows: a failed score is never a number."""
        values = checked(logprobs, expected)
        if self.needs_best:
            values = _below(values, checked(best or (), expected))
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


def _below(values: Sequence[float], best: Sequence[float]) -> list[float]:
    """How far each log-probability is below the best, at most 0. Raises ScoreFailed for one above."""
    below = [own - other for own, other in zip(values, best, strict=True)]
    if max(below) > HAIR:
        raise ScoreFailed(f"a token is likelier than the likeliest one, by {max(below)}")
    return [min(value, 0.0) for value in below]


def _perplexity(values: Sequence[float]) -> float:
    """exp(-mean log p): the published code's score."""
    return math.exp(-sum(values) / len(values))


def _negative_log_likelihood(values: Sequence[float]) -> float:
    """-sum log p: the paper's loss, unnormalised (section 3; its score is the negative)."""
    return abs(sum(values))


def _worst_window(values: Sequence[float], window: int) -> float:
    """The largest mean of -log p over ``window`` tokens in a row; over all of them, if they are fewer."""
    size = min(window, len(values))
    return max(abs(sum(values[start : start + size])) / size for start in range(len(values) - size + 1))


def _worst_token(values: Sequence[float]) -> float:
    """The largest -log p."""
    return abs(min(values))


def _mean_of_largest(values: Sequence[float]) -> float:
    """The mean of the three largest regrets, log p of the target's own choice less log p of the token."""
    largest = heapq.nsmallest(REGRETS, values)
    return abs(sum(largest)) / len(largest)


MEAN = perplexity = Score("mean", "ppl", 1.0, _perplexity)
SUM = Score("sum", "sum", 0.0, _negative_log_likelihood)
WORST_WINDOW = Score("worst_window", "worst_window", 0.0, functools.partial(_worst_window, window=WINDOW))
WORST_TOKEN = Score("worst_token", "worst_token", 0.0, _worst_token)
REGRET = Score("regret", "regret", 0.0, _mean_of_largest, needs_best=True)
SCORES: dict[str, Score] = {score.name: score for score in (MEAN, SUM, WORST_WINDOW, WORST_TOKEN, REGRET)}


def scoring(name: str, window: int | None = None) -> Score:
    """The score of that name; ``window``: tokens of the window, of the one that has one (default 5)."""
    if name == WORST_WINDOW.name and window is not None:
        return replace(WORST_WINDOW, of=functools.partial(_worst_window, window=window))
    return SCORES[name]


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
