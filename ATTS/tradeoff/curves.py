"""A run's accuracy over its two axes: more samples of a question, and more turns of a sample."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ATTS.analysis.accuracy import Graded, majority_at_k, pass_at_k
from ATTS.analysis.grading import by_math
from ATTS.store.records import Record
from ATTS.tradeoff.operating_points import Mean, share


@dataclass(frozen=True)
class At:
    """Accuracy with so many samples or turns: of a sample, of the vote, and of the best sample."""

    count: int
    mean: Mean
    majority: Mean
    any: Mean


@dataclass(frozen=True)
class Curves:
    """``samples``: 1 to k of every question, all draws of so many counted. ``turns``: 1 to the last, of all samples of
    a question; one that is then still under way has no answer."""

    samples: list[At]
    turns: list[At]


def curves(records: Sequence[Record], repeats: int) -> Curves:
    """Of finished samples, graded by algebra."""
    graded = by_math(records, [sample["reference_answer"] for sample in records], repeats)
    stopped = [max((entry["turn"] for entry in sample["full_history"]), default=0) + 1 for sample in records]
    groups: dict[str, list[tuple[Graded, int]]] = defaultdict(list)
    for sample, one, turns in zip(records, graded, stopped, strict=True):
        groups[sample["question_id"]].append((one, turns))
    questions = [groups[name] for name in sorted(groups)]
    most = min(map(len, questions), default=0)
    everything = max(stopped, default=0)
    return Curves(
        samples=[_at(k, questions, k, everything) for k in range(1, most + 1)],
        turns=[_at(turns, questions, most, turns) for turns in range(1, everything + 1)],
    )


def _at(count: int, questions: Sequence[Sequence[tuple[Graded, int]]], k: int, turns: int) -> At:
    """With ``k`` samples and so many turns."""
    means, votes, best = [], [], []
    for group in questions:
        right = sum(one.right for one, stopped in group if stopped <= turns)
        wrong = Counter(one.vote for one, stopped in group if stopped <= turns and not one.right and one.vote)
        others = list(wrong.values())
        means.append(right / len(group))
        votes.append(majority_at_k(right, others, len(group) - right - sum(others), k))
        best.append(pass_at_k(len(group), right, k))
    return At(count, share(means), share(votes), share(best))
