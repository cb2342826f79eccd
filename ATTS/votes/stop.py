"""Rules that tell, sample by sample, when the answers of a question have decided it.

Every sample that ended counts as used, one without an answer too, though it doesn't vote. (The analysis of
Self-Calibration leaves such samples out before it counts, so there they cost nothing.) Answers that tie: the one
seen first leads.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ATTS.votes.vote import Ballot, majority, weighted, weights

StopName = Literal["none", "majority", "beta", "asc", "esc", "es"]
THRESHOLDS = {"beta": 0.95, "asc": 0.8, "esc": 4.0, "es": 0.8}  # used unless another is given
LEAST = 2  # samples that asc sees before it stops

StopRule = Callable[[Sequence[Ballot], int], str | None]  # (samples so far in their order, most samples) -> the answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """A question's answer and how many of its samples it took. ``stopped``: before the last of them."""

    answer: str | None
    used: int
    stopped: bool


def probability_of_lead(first: int, second: int) -> float:
    """The posterior probability that of the two leading answers the first, with ``first`` of the votes against
    ``second``, is the more frequent one: P(p > 1/2) for p ~ Beta(first + 1, second + 1), a uniform prior.

    For whole numbers that is P(X <= first), X ~ Binomial(first + second + 1, 1/2).
    """
    n = first + second + 1
    ways: int = sum(math.comb(n, k) for k in range(first + 1))
    return ways / 2.0**n


def never(ballots: Sequence[Ballot], most: int) -> None:
    """All samples are used."""


def unbeatable(ballots: Sequence[Ballot], most: int) -> str | None:
    """The leader, once the samples that are left can't catch up with it: the majority of all is known."""
    first, lead = _leader(weights(ballots, by_confidence=False))
    return first if lead[0] - lead[1] > most - len(ballots) else None


@dataclass(frozen=True, slots=True)
class Beta:
    """The leader, once it beats the runner-up with posterior probability ``threshold`` (0.5 to 1)."""

    threshold: float

    def __call__(self, ballots: Sequence[Ballot], most: int) -> str | None:  # noqa: ARG002
        first, lead = _leader(weights(ballots, by_confidence=False))
        return first if probability_of_lead(round(lead[0]), round(lead[1])) >= self.threshold else None


@dataclass(frozen=True, slots=True)
class AdaptiveConsistency:
    """The leader, once its share of the samples reaches ``threshold``; from two samples on. Where all samples that
    vote have confidences, shares are of the sums of these (CaTS-ASC)."""

    threshold: float

    def __call__(self, ballots: Sequence[Ballot], most: int) -> str | None:  # noqa: ARG002
        if len(ballots) < LEAST:
            return None
        confident = by_confidence(ballots)
        sums = weights(ballots, confident)
        first, lead = _leader(sums)
        whole = math.fsum(sums.values()) if confident else len(ballots)
        return first if whole and lead[0] / whole >= self.threshold else None


@dataclass(frozen=True, slots=True)
class EarlyStoppingConsistency:
    """The answer of a whole window of ``window`` samples that all give it; windows don't overlap (ESC, arXiv
    2401.10480)."""

    window: int

    def __call__(self, ballots: Sequence[Ballot], most: int) -> str | None:  # noqa: ARG002
        if not ballots or len(ballots) % self.window:
            return None
        votes = {one.vote for one in ballots[-self.window :]}
        return votes.pop() if len(votes) == 1 else None


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """The first answer whose confidence reaches ``threshold`` (CaTS-ES)."""

    threshold: float

    def __call__(self, ballots: Sequence[Ballot], most: int) -> str | None:  # noqa: ARG002
        sure = (b.vote for b in ballots if b.vote is not None and (b.confidence or 0.0) >= self.threshold)
        return next(sure, None)


def rule(name: StopName, threshold: float | None = None) -> StopRule:
    """The rule of that name; ``threshold`` None: its default. Raises ValueError for a threshold that it can't have."""
    value = THRESHOLDS.get(name, 0.0) if threshold is None else threshold
    if name in ("none", "majority"):
        if threshold is not None:
            raise ValueError(f"--stop {name} has no --stop_threshold")
        return never if name == "none" else unbeatable
    if name == "esc":
        if value < LEAST or value != int(value):
            raise ValueError("--stop_threshold of --stop esc is the samples in a window: a whole number, at least 2")
        return EarlyStoppingConsistency(int(value))
    low = 0.5 if name == "beta" else 0.0
    if not low < value < 1 and not (name != "beta" and value == 1):
        raise ValueError(f"--stop_threshold of --stop {name} must lie between {low:g} and 1")
    if name == "beta":
        return Beta(value)
    return AdaptiveConsistency(value) if name == "asc" else EarlyStop(value)


def by_confidence(ballots: Sequence[Ballot]) -> bool:
    """Whether confidences are known of every sample that votes, and any votes."""
    voting = [one for one in ballots if one.vote is not None]
    return bool(voting) and all(one.confidence is not None for one in voting)


def decision(rule: StopRule, ballots: Sequence[Ballot], most: int) -> Outcome | None:
    """The outcome at the first sample with which ``rule`` decides, of samples in the order of their ends; None if it
    doesn't yet."""
    for used in range(1, len(ballots) + 1):
        answer = rule(ballots[:used], most)
        if answer is not None:
            return Outcome(answer, used, used < most)
    return None


def outcome(rule: StopRule, ballots: Sequence[Ballot]) -> Outcome:
    """What a question comes to when its samples end in this order and no others follow: what the rule decides, else
    the vote of all, by confidence for the rules that go by it."""
    decided = decision(rule, ballots, len(ballots))
    if decided is not None:
        return decided
    by_sums = isinstance(rule, (AdaptiveConsistency, EarlyStop)) and by_confidence(ballots)
    winners = (weighted if by_sums else majority)(ballots)
    return Outcome(winners[0] if winners else None, len(ballots), stopped=False)


def fewest(rule: StopRule, ballots: Sequence[Ballot], most: int) -> int:
    """The fewest further samples with which ``rule`` could decide, were they all to agree with the leader; those that
    are left if it can't. So many can start at once without one too many; 1 at least."""
    said = [*ballots, *[Ballot((majority(ballots) or ("",))[0], 1.0)] * (most - len(ballots))]
    ends = (used for used in range(len(ballots) + 1, most) if rule(said[:used], most) is not None)
    return max(1, next(ends, most) - len(ballots))


def _leader(sums: dict[str, float]) -> tuple[str | None, tuple[float, float]]:
    """The heaviest vote, the first of those that tie, and its weight with that of the next one."""
    ordered = sorted(sums, key=lambda vote: -sums[vote])  # stable
    weight = [sums[vote] for vote in ordered[:2]] + [0.0, 0.0]
    return (ordered[0] if ordered else None), (weight[0], weight[1])
