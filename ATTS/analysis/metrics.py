"""What a folder of samples amounts to: accuracy, take-overs, tokens, time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ATTS.analysis import by_role
from ATTS.analysis.accuracy import accuracy
from ATTS.analysis.by_turn import by_turn
from ATTS.analysis.grading import by_math, question_of, ran, status
from ATTS.analysis.tables import percent, within
from ATTS.analysis.timing import timing
from ATTS.errors import ExitStatus
from ATTS.method.types import Stage
from ATTS.store.records import OWED, HistoryEntry, Key, Record
from ATTS.store.result_folder import samples
from ATTS.store.summary import Amount, Summary, WithStopping, Work

STAGES = ("draft", "score", "continue", "draft_discarded", "target_discarded")
# The stages in which each writes what stays, and what is discarded.
AUTHORS = {"draft": ("draft", "draft_discarded"), "target": ("continue", "target_discarded")}


def summarise(folder: Path, keys: Sequence[Key]) -> Amount:
    """Everything about the samples of ``keys`` but the clock."""
    references = {key.index: key.question.answer for key in keys}
    records = [s for s in samples(folder) if s["problem_index"] in references and s.get("exit_status") not in OWED]
    repeats = keys[0].repeats
    graded = by_math(records, [references[s["problem_index"]] for s in records], repeats)
    return {
        "samples": len(records),
        "owed": len(references) - len(records),
        "missing": len(references) - len(records),
        **accuracy(graded, repeats),
        **work(records),
        **by_role.summarise(records),
        "by_turn": by_turn(ran(records), [sample for sample in graded if sample.status != ExitStatus.STOPPED]),
        "timing": timing(ran(records)),
        **stopping(records, repeats),
    }


def stopping(samples: Sequence[Record], repeats: int) -> WithStopping:
    """What decisions about questions left out; nothing of a run without any."""
    stopped = [s for s in samples if s.get("exit_status") == ExitStatus.STOPPED]
    if not stopped:
        return {}
    begun = [s for s in stopped if s["started_at"] and s["duration_seconds"]]
    questions = len({question_of(s, repeats) for s in samples})
    return {
        "stopping": {
            "samples_used": (len(samples) - len(stopped)) / questions,
            "cancelled": len(begun),
            "never_started": len(stopped) - len(begun),
            "cancelled_tokens": sum(stage["written_tokens"] for s in begun for stage in s["usage"].values()),
        }
    }


def work(samples: Sequence[Record]) -> Work:
    """Take-overs, tokens by author, discarded ones included, and seconds by stage.

    Published samples tell the turns and decisions only; tokens and seconds are then None.
    """
    turns = sum(
        len({e["turn"] for e in s["full_history"] if e["model"] in (Stage.DRAFT, Stage.CONTINUE)}) for s in samples
    )
    taken_over = sum(entry["model"] == Stage.CONTINUE.value for s in samples for entry in s["full_history"])
    decided = [rejected for s in samples for rejected in rejections(s["full_history"])]
    stages = written = None
    if all("usage" in s for s in samples):
        stages = {stage: used for stage in STAGES if (used := _sum(samples, stage))}
        written = {
            role: sum(int(stages[stage]["written_tokens"]) for stage in of if stage in stages)
            for role, of in AUTHORS.items()
        }
    return {
        "by_status": dict(Counter(status(s) for s in samples)),
        "turns": _ratio(
            turns, sum(bool(s["full_history"]) or s.get("exit_status") != ExitStatus.STOPPED for s in samples)
        ),
        "scored": len(decided),
        "rejection_rate": _ratio(sum(decided), len(decided)),
        "takeover_rate": _ratio(taken_over, turns),
        "written_tokens": written,
        "target_share": _ratio(written["target"], sum(written.values())) if written else None,
        "stages": stages,
    }


def rejections(history: Sequence[HistoryEntry]) -> list[bool]:
    """Each scored chunk's decision. Published entries don't tell it: there the target wrote in the same turn."""
    continued = {entry["turn"] for entry in history if entry["model"] == Stage.CONTINUE.value}
    return [e.get("rejected", e["turn"] in continued) for e in history if e["model"] == Stage.SCORE.value]


def _sum(samples: Sequence[Record], stage: str) -> dict[str, float]:
    """What the samples spent on a stage; nothing if none of them has it."""
    used: list[Mapping[str, Any]] = [s["usage"][stage] for s in samples if stage in s["usage"]]
    return {name: sum(one[name] for one in used) for name in used[0]} if used else {}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def describe(summary: Summary) -> str:
    """A summary in a few lines."""
    if not summary["samples"]:
        return "no sample is finished"
    most = max(summary["majority_at_k"], key=int, default=None)
    lines = [
        f"accuracy {percent(summary['mean_accuracy'])} ({percent(summary['low'])} - {percent(summary['high'])},"
        f" 95 % over {summary['questions']} questions); {summary['samples']} samples,"
        f" {', '.join(f'{count} {name}' for name, count in summary['by_status'].items())}"
    ]
    if summary["scored"] and summary["written_tokens"]:
        lines.append(
            f"rejected {percent(summary['rejection_rate'])} of {summary['scored']} scored chunks; the target wrote"
            f" {percent(summary['target_share'])} of {sum(summary['written_tokens'].values())} tokens"
        )
    if "stopping" in summary and most is not None:
        stopped, vote = summary["stopping"], summary["majority_at_k"][most]
        lines.append(
            f"{stopped['samples_used']:.1f} of {most} samples a question were used, {stopped['cancelled']} more were"
            f" cancelled and {stopped['never_started']} never began; their vote is right in"
            f" {within(vote, summary['intervals']['majority_at_k'][most])}"
        )
    if summary["undecided"]:
        lines.append(f"{summary['undecided']} answers could not be compared within the time limit; they count as wrong")
    if summary["samples_in_wall_seconds"]:
        lines.append(f"{summary['samples_in_wall_seconds']} samples in {summary['wall_seconds']:.1f} s")
    return "\n".join(lines)
