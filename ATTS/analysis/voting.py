"""How right the votes of a folder's questions are, by count and by confidence, each paired with the majority."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ATTS.analysis import confidence, intervals
from ATTS.analysis.accuracy import Graded
from ATTS.analysis.tables import difference, markdown, within
from ATTS.errors import ExitStatus, UserError
from ATTS.method.types import Stage
from ATTS.store import records
from ATTS.store.records import Record
from ATTS.votes.vote import VOTES, Ballot

ConfidenceName = Literal["draft", "target", "ppl"]
RIGHT = "right"  # the vote of all answers that are


def names(votes: Sequence[str]) -> list[str]:
    """The votes asked for, also with commas between them, the majority first. Raises ValueError."""
    asked = [name.strip() for name in ",".join(votes).split(",") if name.strip()]
    for name in asked:
        if name not in VOTES:
            raise ValueError(f"--votes {name!r} is none of {', '.join(VOTES)}")
    return list(dict.fromkeys(["majority", *asked])) if asked else []


def told(sample: Record, by: ConfidenceName) -> float | None:
    """The confidence in a sample's answer, between 0 and 1: P(Yes) / (P(Yes) + P(No)) of the model that was asked, or
    1 / the perplexity of the chain's worst chunk. None if the sample doesn't tell it."""
    if by == "ppl":
        scores = [entry.get("ppl") for entry in sample["full_history"] if entry["model"] == Stage.SCORE.value]
        finite = [score for score in scores if score is not None and math.isfinite(score)]
        return 1 / max(finite) if finite else None
    return records.confidence(sample, by)


def stored(samples: Sequence[Record]) -> ConfidenceName | None:
    """Whose confidence the samples hold: the target's where both were asked; None if nobody was."""
    models = {by for sample in samples for by, said in (sample.get("confidence") or {}).items() if said is not None}
    return "target" if "target" in models else "draft" if "draft" in models else None


def report(
    graded: Sequence[Graded], samples: Sequence[Record], votes: Sequence[str], by: ConfidenceName | None
) -> dict[str, Any]:
    """Accuracy of each vote with its interval over questions, and the difference to the majority's, paired by question.

    Answers that tie share the win. A missing confidence counts as the mean of the others of its question. ``by``
    None: :func:`stored`. Raises UserError if a vote needs confidences and the samples hold none.
    """
    kept = [(g, s) for g, s in zip(graded, samples, strict=True) if g.status != ExitStatus.STOPPED]
    graded, samples = [g for g, _ in kept], [s for _, s in kept]
    by = by or stored(samples)
    if by is None and set(votes) - {"majority"}:
        raise UserError(
            "these samples hold no confidence to vote by: run with --confidence draft, target or both, or try"
            " --vote_confidence ppl (which tells hard questions from easy ones, not right answers from wrong)"
        )
    known = [told(sample, by) if by else None for sample in samples]
    if by and all(value is None for value in known):
        raise UserError(f"no sample holds the confidence that --vote_confidence {by} asks for")
    questions: dict[int, list[Ballot]] = defaultdict(list)
    for one, value in zip(graded, known, strict=True):
        questions[one.question].append(Ballot(RIGHT if one.right else one.vote, value))
    filled = [_filled(ballots) for ballots in questions.values()]
    right = {vote: [_share(VOTES[vote](ballots)) for ballots in filled] for vote in votes}
    found: dict[str, Any] = {"confidence": by, "votes": {}}
    for vote, values in right.items():
        mean = intervals.of_questions(values)
        against = [one - other for one, other in zip(values, right["majority"], strict=True)]
        low, high = intervals.difference(against)
        found["votes"][vote] = {
            "accuracy": mean.rate,
            "low": mean.low,
            "high": mean.high,
            "difference": {"difference": float(np.mean(against)), "low": low, "high": high},
        }
    if by and set(votes) - {"majority"}:
        answered = [(g, v) for g, v in zip(graded, known, strict=True) if g.answer is not None and v is not None]
        right_ones, values = [g.right for g, _ in answered], [v for _, v in answered]
        found["quality"] = confidence.quality(values, right_ones, [g.question for g, _ in answered])
    return found


def table(found: Mapping[str, Any]) -> str:
    """A report as text."""
    rows = [
        (
            vote,
            within(one["accuracy"], (one["low"], one["high"])),
            "-" if vote == "majority" else difference(one["difference"]),
        )
        for vote, one in found["votes"].items()
    ]
    lines = [markdown(("vote of all samples", "accuracy (95 %)", "difference to majority, points (95 %)"), rows)]
    if "quality" in found:
        lines.append(f"(confidence: {found['confidence']}; {confidence.describe(found['quality'])})")
    return "\n".join(lines)


def _filled(ballots: Sequence[Ballot]) -> list[Ballot]:
    known = [one.confidence for one in ballots if one.confidence is not None]
    mean = sum(known) / len(known) if known else 1.0
    return [Ballot(one.vote, mean if one.confidence is None else one.confidence) for one in ballots]


def _share(winners: Sequence[str]) -> float:
    return (RIGHT in winners) / len(winners) if winners else 0.0
