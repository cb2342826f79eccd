"""What the baselines' samples tell besides: grades, kinds of take-over, text that was thrown away."""

from collections.abc import Sequence
from typing import Any

from ATTS.method.types import Stage
from ATTS.store.records import Record


def summarise(found: Sequence[Record]) -> dict[str, Any]:
    """Of samples of SpecReason and Speculative Thinking; nothing of others."""
    told: dict[str, Any] = {"grades": grades(found), "takeovers_by_kind": kinds(found)}
    told = {name: value for name, value in told.items() if value is not None}
    discarded = tokens(found)["discarded"]
    return told | ({"discarded_tokens": discarded} if any(discarded.values()) else {})


def tokens(found: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Written tokens by author: those that stayed, and those that did not."""
    told = {what: {"draft": 0, "target": 0} for what in ("kept", "discarded")}
    for sample in found:
        for entry in sample["full_history"]:
            stage = Stage(entry["model"])
            if stage.author:
                told["discarded" if stage.discarded else "kept"][stage.author] += entry["tokens"]
    return told


def grades(found: Sequence[Record]) -> dict[str, Any] | None:
    """SpecReason's: how often each, how many were good enough, and the mean mass on the ten digits."""
    told = [e for s in found for e in s["full_history"] if e["model"] == Stage.GRADE.value]
    if not told:
        return None
    whole = [round(entry["score"]) for entry in told]
    return {
        "graded": len(told),
        "accepted": sum(entry["accepted"] for entry in told) / len(told),
        "by_grade": {str(grade): whole.count(grade) for grade in sorted(set(whole))},
        "digit_mass": sum(sum(entry["digits"].values()) for entry in told) / len(told),
    }


def kinds(found: Sequence[Record]) -> dict[str, int] | None:
    """Speculative Thinking's take-overs."""
    told = [entry["kind"] for sample in found for entry in sample["full_history"] if "kind" in entry]
    return {kind: told.count(kind) for kind in sorted(set(told))} or None
