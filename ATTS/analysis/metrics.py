"""What a folder of samples amounts to: accuracy, take-overs, tokens, time."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ATTS.analysis import by_role
from ATTS.analysis.accuracy import accuracy
from ATTS.analysis.by_turn import by_turn
from ATTS.analysis.grading import by_math, status
from ATTS.analysis.tables import percent
from ATTS.analysis.timing import timing
from ATTS.method.types import Stage
from ATTS.store.records import OWED, Key, Record
from ATTS.store.result_folder import samples

STAGES = ("draft", "score", "continue", "draft_discarded", "target_discarded")
# The stages in which each writes what stays, and what is discarded.
AUTHORS = {"draft": ("draft", "draft_discarded"), "target": ("continue", "target_discarded")}


def summarise(folder: Path, keys: Sequence[Key]) -> dict[str, Any]:
    """Everything about the samples of ``keys`` but the clock."""
    references = {key.index: key.question.answer for key in keys}
    found = [s for s in samples(folder) if s["problem_index"] in references and s.get("exit_status") not in OWED]
    repeats = keys[0].repeats
    graded = by_math(found, [references[s["problem_index"]] for s in found], repeats)
    return {
        "samples": len(found),
        "owed": len(references) - len(found),
        "missing": len(references) - len(found),
        **accuracy(graded, repeats),
        **work(found),
        **by_role.summarise(found),
        "by_turn": by_turn(found, [sample.right for sample in graded]),
        "timing": timing(found),
    }


def work(found: Sequence[Record]) -> dict[str, Any]:
    """Take-overs, tokens by author, discarded ones included, and seconds by stage.

    Published samples tell the turns and decisions only; tokens and seconds are then None.
    """
    turns = sum(
        len({e["turn"] for e in s["full_history"] if e["model"] in (Stage.DRAFT, Stage.CONTINUE)}) for s in found
    )
    taken_over = sum(entry["model"] == Stage.CONTINUE.value for s in found for entry in s["full_history"])
    decided = [rejected for s in found for rejected in rejections(s["full_history"])]
    stages = written = None
    if all("usage" in s for s in found):
        stages = {stage: used for stage in STAGES if (used := _sum(found, stage))}
        written = {
            role: sum(stages[stage]["written_tokens"] for stage in of if stage in stages)
            for role, of in AUTHORS.items()
        }
    return {
        "by_status": dict(Counter(status(s) for s in found)),
        "turns": _ratio(turns, len(found)),
        "scored": len(decided),
        "rejection_rate": _ratio(sum(decided), len(decided)),
        "takeover_rate": _ratio(taken_over, turns),
        "written_tokens": written,
        "target_share": _ratio(written["target"], sum(written.values())) if written else None,
        "stages": stages,
    }


def rejections(history: Sequence[Record]) -> list[bool]:
    """Each scored chunk's decision. Published entries don't tell it: there the target wrote in the same turn."""
    continued = {entry["turn"] for entry in history if entry["model"] == Stage.CONTINUE.value}
    return [e.get("rejected", e["turn"] in continued) for e in history if e["model"] == Stage.SCORE.value]


def _sum(found: Sequence[Record], stage: str) -> dict[str, float]:
    """What the samples spent on a stage; nothing if none of them has it."""
    used = [s["usage"][stage] for s in found if stage in s["usage"]]
    return {name: sum(one[name] for one in used) for name in used[0]} if used else {}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def describe(summary: dict[str, Any]) -> str:
    """A summary in a few lines."""
    if not summary["samples"]:
        return "no sample is finished"
    lines = [
        f"accuracy {percent(summary['mean_accuracy'])} ({percent(summary['low'])} - {percent(summary['high'])},"
        f" 95 % over {summary['questions']} questions); {summary['samples']} samples,"
        f" {', '.join(f'{count} {name}' for name, count in summary['by_status'].items())}"
    ]
    if summary["scored"]:
        lines.append(
            f"rejected {percent(summary['rejection_rate'])} of {summary['scored']} scored chunks; the target wrote"
            f" {percent(summary['target_share'])} of {sum(summary['written_tokens'].values())} tokens"
        )
    if summary["undecided"]:
        lines.append(f"{summary['undecided']} answers could not be compared within the time limit; they count as wrong")
    if summary["samples_in_wall_seconds"]:
        lines.append(f"{summary['samples_in_wall_seconds']} samples in {summary['wall_seconds']:.1f} s")
    return "\n".join(lines)
