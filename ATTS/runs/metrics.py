"""What a folder of samples amounts to: accuracy, take-overs, tokens, time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.method.types import ExitStatus, Stage
from ATTS.runs.records import OWED, Key, Record
from ATTS.runs.store import samples
from ATTS.runs.timing import timing
from ATTS.tasks.answers import INVALID
from ATTS.tasks.equivalence import Grader, Verdict

RESAMPLES = 2000
STAGES = ("draft", "score", "continue")
AUTHORS = {"draft": "draft", "target": "continue"}  # and the stage in which they write


def summarise(folder: Path, keys: Sequence[Key]) -> dict[str, Any]:
    """Everything about the samples of ``keys`` but the clock."""
    expected = {key.index for key in keys}
    found = [s for s in samples(folder) if s["problem_index"] in expected and s["exit_status"] not in OWED]
    references = {key.index: key.question.answer for key in keys}
    return {
        "samples": len(found),
        "owed": len(expected) - len(found),
        **accuracy(found, [references[s["problem_index"]] for s in found], keys[0].repeats),
        **work(found),
        "timing": timing(found),
    }


def accuracy(found: Sequence[Record], references: Sequence[str], repeats: int) -> dict[str, Any]:
    """Mean accuracy a sample with a 95 % interval over questions, pass@repeats, majority vote.

    Grouping is by index, so gaps in a folder shift nothing. A sample without an answer is wrong.
    """
    with Grader() as grader:
        pairs = [(ref, str(s["final_answer"])) for s, ref in zip(found, references, strict=True) if answered(s)]
        verdicts = iter(grader.compare(pairs))
        graded = [next(verdicts) if answered(s) else Verdict.DIFFERENT for s in found]
    groups: dict[int, list[tuple[Record, bool]]] = {}
    for sample, verdict in zip(found, graded, strict=True):
        groups.setdefault(sample["problem_index"] // repeats, []).append((sample, verdict is Verdict.EQUAL))
    means = np.array([np.mean([right for _, right in group]) for group in groups.values()])
    sizes = np.array([len(group) for group in groups.values()])
    low, high = interval(means, sizes)
    return {
        "questions": len(groups),
        "mean_accuracy": float(np.average(means, weights=sizes)) if len(groups) else None,
        "low": low,
        "high": high,
        f"pass_at_{repeats}": float(np.mean(means > 0)) if len(groups) else None,
        "majority": float(np.mean([_majority(group) for group in groups.values()])) if groups else None,
        "undecided": sum(verdict is Verdict.UNDECIDED for verdict in graded),
        "unanswered": sum(not answered(s) for s in found),
    }


def answered(sample: Record) -> bool:
    return sample["final_answer"] not in (None, "", INVALID)


def interval(means: NDArray[np.float64], sizes: NDArray[np.int_]) -> tuple[float | None, float | None]:
    """95 % interval of a mean over samples by bootstrap over questions: the repeats of one are not
    independent. ``means`` and ``sizes`` are per question; None for fewer than two."""
    if len(means) < 2:
        return None, None
    picks = np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))
    drawn = (means * sizes)[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _majority(group: Sequence[tuple[Record, bool]]) -> bool:
    """Whether the most frequent answer is right; the earliest of equally frequent ones counts."""
    votes = Counter(str(sample["final_answer"]) for sample, _ in group if answered(sample))
    if not votes:
        return False
    winner = votes.most_common(1)[0][0]
    return next(right for sample, right in group if str(sample["final_answer"]) == winner)


def work(found: Sequence[Record]) -> dict[str, Any]:
    """Take-overs, tokens by author and seconds by stage.

    Published samples tell the turns and decisions only; tokens and seconds are then None.
    """
    entries = Counter(entry["model"] for s in found for entry in s["full_history"])
    drafts = entries[Stage.DRAFT.value]
    decided = [rejected for s in found for rejected in rejections(s["full_history"])]
    stages = written = None
    if all("usage" in s for s in found):
        stages = {
            stage: {name: sum(s["usage"][stage][name] for s in found) for name in found[0]["usage"][stage]}
            for stage in STAGES
            if found
        }
        written = {role: stages[stage]["written_tokens"] if stages else 0 for role, stage in AUTHORS.items()}
    return {
        "by_status": dict(Counter(status(s) for s in found)),
        "turns": _ratio(drafts, len(found)),
        "scored": len(decided),
        "rejection_rate": _ratio(sum(decided), len(decided)),
        "takeover_rate": _ratio(entries[Stage.CONTINUE.value], drafts),
        "written_tokens": written,
        "target_share": _ratio(written["target"], sum(written.values())) if written else None,
        "stages": stages,
    }


def rejections(history: Sequence[Record]) -> list[bool]:
    """Each scored chunk's decision. Published entries don't tell it: there the target wrote in the same turn."""
    continued = {entry["turn"] for entry in history if entry["model"] == Stage.CONTINUE.value}
    return [e.get("rejected", e["turn"] in continued) for e in history if e["model"] == Stage.SCORE.value]


def status(sample: Record) -> str:
    """Why a sample ended; all that a published one tells is whether there was an answer."""
    ended = ExitStatus.ANSWERED.value if answered(sample) else "unanswered"
    return str(sample.get("exit_status", ended))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def describe(summary: dict[str, Any]) -> str:
    """A summary in a few lines."""
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


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def finished(found: Iterable[Record]) -> list[Record]:
    return [s for s in found if s.get("exit_status", ExitStatus.ANSWERED) not in OWED]
