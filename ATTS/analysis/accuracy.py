"""Accuracy of graded samples: means, pass@k and majority@k by unbiased estimators, with intervals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from ATTS.analysis import intervals
from ATTS.errors import ExitStatus
from ATTS.store.summary import Accuracy, QuestionRow
from ATTS.tasks.equivalence import Verdict


@dataclass(frozen=True, slots=True)
class Graded:
    """One sample's answer and what it is worth.

    ``vote`` names what the answer means: answers of one question with the same vote mean the same.
    None: no answer.
    """

    question: int
    answer: str | None
    vote: str | None
    verdict: Verdict
    status: str
    reference: str

    @property
    def right(self) -> bool:
        """Whether it counts as right; undecided ones don't."""
        return self.verdict is Verdict.EQUAL


def accuracy(graded: Sequence[Graded], repeats: int) -> Accuracy:
    """Everything about right and wrong. A sample without an answer is wrong, and so is an undecided one.

    A question with fewer than k samples counts in pass@k and majority@k with those it has. Samples that a decision
    stopped count nowhere; where there are any, the mean is that of the questions' means, since hard ones have more.
    """
    everything = graded
    graded = [sample for sample in graded if sample.status != ExitStatus.STOPPED]
    groups: dict[int, list[Graded]] = {}
    for sample in graded:
        groups.setdefault(sample.question, []).append(sample)
    questions = [groups[number] for number in sorted(groups)]
    if len(graded) < len(everything):
        mean = intervals.of_questions([sum(s.right for s in group) / len(group) for group in questions])
    else:
        mean = intervals.interval([s.right for s in graded], [s.question for s in graded])
    passed = {str(k): intervals.of_questions([_passes(group, k) for group in questions]) for k in ks(repeats)}
    voted = {str(k): intervals.of_questions([_majority(group, k) for group in questions]) for k in ks(repeats)}
    return {
        "questions": len(questions),
        "mean_accuracy": mean.rate if questions else None,
        "low": mean.low if questions else None,
        "high": mean.high if questions else None,
        "pass_at_k": {k: share.rate if questions else None for k, share in passed.items()},
        "majority_at_k": {k: share.rate if questions else None for k, share in voted.items()},
        "intervals": {
            name: {k: [share.low, share.high] if questions else None for k, share in by_k.items()}
            for name, by_k in (("pass_at_k", passed), ("majority_at_k", voted))
        },
        "undecided": sum(s.verdict is Verdict.UNDECIDED for s in graded),
        "unanswered": sum(s.answer is None for s in graded),
        "accuracy_by_status": _by_status(everything),
        "per_question": [_question(group) for group in questions],
    }


def ks(repeats: int) -> list[int]:
    """1, 2, 4 ... and the number of repeats itself."""
    return sorted({*(2**i for i in range(repeats.bit_length())), repeats})


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that any of ``k`` samples, drawn without replacement, is right: 1 - C(n - c, k) / C(n, k)."""
    k = min(k, samples)
    return 1 - comb(samples - right, k) / comb(samples, k)


def majority_at_k(right: int, others: Sequence[int], silent: int, k: int) -> float:
    """Chance that the vote of ``k`` samples, drawn without replacement, is right.

    ``right`` samples give the right answer, ``others`` are the sizes of the groups that agree on a wrong
    one, ``silent`` samples give none and don't vote. Equally large groups share the win. Exact: counts
    the draws in which ``lead`` right samples beat every other group, or tie with some.
    """
    samples = right + sum(others) + silent
    k = min(k, samples)
    total = 0.0
    for lead in range(1, min(right, k) + 1):
        ways = {(0, 0): 1}  # (drawn of the other groups, ties with the lead): number of draws
        for size in others:
            grown: Counter[tuple[int, int]] = Counter()
            for (drawn, ties), count in ways.items():
                for more in range(min(size, lead, k - lead - drawn) + 1):
                    grown[drawn + more, ties + (more == lead)] += count * comb(size, more)
            ways = grown
        for (drawn, ties), count in ways.items():
            total += comb(right, lead) * count * comb(silent, k - lead - drawn) / (1 + ties)
    return total / comb(samples, k)


def _passes(group: Sequence[Graded], k: int) -> float:
    return pass_at_k(len(group), sum(s.right for s in group), k)


def _majority(group: Sequence[Graded], k: int) -> float:
    right = sum(s.right for s in group)
    others = Counter(s.vote for s in group if not s.right and s.vote is not None)
    return majority_at_k(right, list(others.values()), len(group) - right - others.total(), k)


def _question(group: Sequence[Graded]) -> QuestionRow:
    """A question's row: its answers as they were written, the most frequent first."""
    right = sum(s.right for s in group)
    return {
        "question_index": group[0].question,
        "reference": group[0].reference,
        "samples": len(group),
        "right": right,
        "accuracy": right / len(group),
        "majority": _majority(group, len(group)),
        "undecided": sum(s.verdict is Verdict.UNDECIDED for s in group),
        "unanswered": sum(s.answer is None for s in group),
        "answers": dict(Counter(s.answer for s in group if s.answer is not None).most_common()),
    }


def _by_status(graded: Sequence[Graded]) -> dict[str, dict[str, float | None]]:
    """By the reason for which samples stopped; None for those that a decision stopped."""
    groups: dict[str, list[bool]] = {}
    for sample in graded:
        groups.setdefault(sample.status, []).append(sample.right)
    return {
        status: {"samples": len(g), "accuracy": None if status == ExitStatus.STOPPED else sum(g) / len(g)}
        for status, g in sorted(groups.items())
    }
