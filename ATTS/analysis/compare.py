"""Runs beside each other, paired by question: the same questions were hard for all of them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ATTS.analysis import folders, intervals, metrics, tables
from ATTS.analysis.accuracy import accuracy
from ATTS.analysis.folders import Folder, Truth
from ATTS.analysis.grading import by_math, question_of
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.store import result_folder
from ATTS.store.records import Record

Row = dict[str, Any]


def rows(
    paths: Sequence[Path], dataset_name: str | None, repeats: int | None, data_dir: Path | None
) -> list[dict[str, Any]]:
    """Each run's summary, its folder's name, and what it differs in from the first. Raises UserError."""
    runs = [_run(path, dataset_name, repeats, data_dir) for path in paths]
    first, first_costs = runs[0]
    return [
        {**summary, "against_first": None if i == 0 else against(first, first_costs, summary, costs)}
        for i, (summary, costs) in enumerate(runs)
    ]


def _run(
    path: Path, dataset_name: str | None, repeats: int | None, data_dir: Path | None
) -> tuple[Row, Mapping[int, Row]]:
    """A finished run's summary and, by question, its mean seconds and tokens a sample."""
    own = bool(result_folder.settings(path)) or not path.is_dir()
    stored: Row = {**(result_folder.read_summary(path) if own else result_folder.summary(path) or {})}
    folder = folders.load(path, dataset_name, repeats, data_dir)
    summary = summarised(folder, stored)
    if "per_question" not in stored or "intervals" not in stored or dataset_name:
        summary |= accuracy(by_math(folder.samples, folder.references, folder.repeats), folder.repeats)
    return summary, costs(folder)


def summarised(folder: Folder, stored: Row) -> Row:
    """A run's row but for its accuracy, unless ``stored``, its summary, tells that."""
    summary: Row = {"run": folder.path.resolve().name, "samples": len(folder.samples), "missing": folder.missing}
    summary |= metrics.work(folder.samples) | stored
    summary["sample_seconds"] = _seconds(folder.samples)
    return summary


def _seconds(samples: Sequence[Record]) -> float | None:
    """The mean time of a sample; None where one doesn't tell it."""
    seconds = [sample["duration_seconds"] for sample in samples if "duration_seconds" in sample]
    return float(np.mean(seconds)) if len(seconds) == len(samples) else None


def costs(folder: Folder) -> dict[int, Row]:
    """By question: its text, and its mean seconds and tokens a sample."""
    groups: dict[int, list[Record]] = defaultdict(list)
    for sample in folder.samples:
        groups[question_of(sample, folder.repeats)].append(sample)
    return {
        question: {
            "text": group[0].get("question"),
            "seconds": _seconds(group),
            "tokens": float(np.mean([_tokens(s) for s in group])) if all("usage" in s for s in group) else None,
        }
        for question, group in groups.items()
    }


def _tokens(sample: Record) -> int:
    return sum(stage["written_tokens"] for stage in sample["usage"].values())


def against(a: Row, a_costs: Mapping[int, Row], b: Row, b_costs: Mapping[int, Row]) -> Row:
    """What run ``b`` differs in from run ``a``, on the questions that both have."""
    right = [{q["question_index"]: q["accuracy"] for q in run["per_question"]} for run in (a, b)]
    shared = sorted(right[0].keys() & right[1].keys() & a_costs.keys() & b_costs.keys())
    if not shared:
        raise UserError(f"{a['run']} and {b['run']} have no question in common")
    for question in shared:
        if a_costs[question]["text"] != b_costs[question]["text"]:
            raise UserError(
                f"question {question} is another one in {a['run']} than in {b['run']}: not the same data set"
            )
    differences = [right[1][q] - right[0][q] for q in shared]
    low, high = intervals.difference(differences)
    clocks = [run["wall_seconds"] / run["samples"] if _has_clock(run) else None for run in (a, b)]
    seconds = _ratio([a_costs[q]["seconds"] for q in shared], [b_costs[q]["seconds"] for q in shared])
    tokens = _ratio([b_costs[q]["tokens"] for q in shared], [a_costs[q]["tokens"] for q in shared])
    return {
        "first": a["run"],
        "questions": len(shared),
        "accuracy": {"difference": float(np.mean(differences)), "low": low, "high": high},
        "tokens_ratio": tokens,
        "sample_speed_up": seconds,
        "speed_up": clocks[0] / clocks[1] if clocks[0] and clocks[1] else None,
    }


def _has_clock(run: Row) -> bool:
    """Whether its wall time is that of all its samples; a resumed run's is not."""
    return bool(run.get("wall_seconds")) and run["samples_in_wall_seconds"] == run["samples"]


def _ratio(above: Sequence[float | None], below: Sequence[float | None]) -> dict[str, float | None] | None:
    """Ratio of two means over the same questions with its 95 % interval; None if a run doesn't tell."""
    a, b = ([value for value in values if value is not None] for values in (above, below))
    if len(a) < len(above) or len(b) < len(below) or not sum(b):
        return None
    low, high = intervals.ratio(a, b) or (None, None)
    return {"ratio": sum(a) / sum(b), "low": low, "high": high}


class CompareSettings(Part):
    """Flags of compare."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders, in the order of the table_rows; the others are compared with the first, question by question."""

    truth: Truth = Truth()

    json: bool = False
    """Print JSON."""


async def compare(settings: CompareSettings) -> str:
    """The comparison as a table or JSON. Raises UserError."""
    table_rows = rows(settings.runs, *settings.truth.given)
    return json.dumps(table_rows, indent=1) if settings.json else tables.table(table_rows)
