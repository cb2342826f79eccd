"""What only the baselines' samples record: grades, kinds of take-over, discarded text."""

from collections.abc import Sequence

from ATTS.method.types import Stage
from ATTS.store.records import Record
from ATTS.store.summary import ByRole, Grades


def summarise(samples: Sequence[Record]) -> ByRole:
    """Of samples of SpecReason and Speculative Thinking, and of replaced chunks; nothing of others."""
    summary: ByRole = {}
    if graded := grades(samples):
        summary["grades"] = graded
    if taken_over := kinds(samples):
        summary["takeovers_by_kind"] = taken_over
    discarded = tokens(samples)["discarded"]
    if any(discarded.values()):
        summary["discarded_tokens"] = discarded
    return summary


def tokens(samples: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Written tokens by author: those that stayed, and those that did not."""
    counts = {what: {"draft": 0, "target": 0} for what in ("kept", "discarded")}
    for sample in samples:
        for entry in sample["full_history"]:
            stage = Stage(entry["model"])
            if stage.author:
                counts["discarded" if stage.discarded else "kept"][stage.author] += entry["tokens"]
    return counts


def grades(samples: Sequence[Record]) -> Grades | None:
    """SpecReason's: how often each, how many were good enough, and the mean mass on the ten digits."""
    graded = [e for s in samples for e in s["full_history"] if e["model"] == Stage.GRADE.value]
    if not graded:
        return None
    whole = [round(entry["score"]) for entry in graded]
    return {
        "graded": len(graded),
        "accepted": sum(entry["accepted"] for entry in graded) / len(graded),
        "by_grade": {str(grade): whole.count(grade) for grade in sorted(set(whole))},
        "digit_mass": sum(sum(entry["digits"].values()) for entry in graded) / len(graded),
    }


def kinds(samples: Sequence[Record]) -> dict[str, int] | None:
    """Speculative Thinking's take-overs."""
    taken_over = [entry["kind"] for sample in samples for entry in sample["full_history"] if "kind" in entry]
    return {kind: taken_over.count(kind) for kind in sorted(set(taken_over))} or None
