"""How the samples of a question become one answer: by count, by confidence, or by the most confident one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one sample says.

    ``vote``: what its answer means, the same text for answers that mean the same; None: no answer, no vote.
    ``confidence``: the probability, 0 to 1, that a model gives the answer; None: it was not asked, or failed.
    """

    vote: str | None
    confidence: float | None = None


def majority(ballots: Sequence[Ballot]) -> tuple[str, ...]:
    """The most frequent votes, in the order in which they came; more than one where they tie, none without votes."""
    return _heaviest([(one.vote, 1.0) for one in ballots])


def weighted(ballots: Sequence[Ballot]) -> tuple[str, ...]:
    """The votes with the largest sum of confidences (Self-Calibration, arXiv 2503.00031). A missing one counts 0."""
    return _heaviest([(one.vote, one.confidence or 0.0) for one in ballots])


def best_of_n(ballots: Sequence[Ballot]) -> tuple[str, ...]:
    """The votes of the most confident samples."""
    most = max((one.confidence or 0.0 for one in ballots if one.vote is not None), default=0.0)
    return tuple(dict.fromkeys(b.vote for b in ballots if b.vote is not None and (b.confidence or 0.0) == most))


Vote = Callable[[Sequence[Ballot]], tuple[str, ...]]
VOTES: dict[str, Vote] = {"majority": majority, "weighted": weighted, "best_of_n": best_of_n}


def weights(ballots: Sequence[Ballot], by_confidence: bool) -> dict[str, float]:
    """Each vote's count or sum of confidences, in the order in which they came."""
    sums: dict[str, float] = {}
    for one in ballots:
        if one.vote is not None:
            sums[one.vote] = sums.get(one.vote, 0.0) + ((one.confidence or 0.0) if by_confidence else 1.0)
    return sums


def _heaviest(weighed: Sequence[tuple[str | None, float]]) -> tuple[str, ...]:
    """Sums are exact (math.fsum), so that equal confidences tie in whatever order they came."""
    own: dict[str, list[float]] = {}
    for vote, weight in weighed:
        if vote is not None:
            own.setdefault(vote, []).append(weight)
    sums = {vote: math.fsum(values) for vote, values in own.items()}
    most = max(sums.values(), default=0.0)
    return tuple(vote for vote, total in sums.items() if total == most)
