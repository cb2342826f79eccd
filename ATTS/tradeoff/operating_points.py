"""Finished runs of the same questions as operating points: what share is right, question by question, and at what cost.

Only this project's folders say enough. Questions go by their content, so their order and number don't matter; a
question that is there twice counts once, with all its samples.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ATTS.analysis import by_role, intervals
from ATTS.analysis.grading import finished
from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.store import blocks, result_folder
from ATTS.store.records import Record
from ATTS.store.summary import Summary

DRAFTS = (Stage.DRAFT.value, Stage.DRAFT_DISCARDED.value)


@dataclass(frozen=True)
class Cost:
    """Tokens a sample, and the whole run's wall seconds; None where the clock didn't see all of it."""

    target_written: float
    target_scored: float
    draft_written: float
    wall_seconds: float | None


@dataclass(frozen=True)
class Point:
    """One finished run. ``right``: the share of a question's samples that are right, by its content."""

    name: str
    path: Path
    command: str
    settings: dict[str, Any]
    decisive: dict[str, Any]  # those of them that decide what its samples are
    calibration: dict[str, Any] | None  # where its array is from, if that tells
    digest: str | None  # of its array
    samples: list[Record]
    right: dict[str, float]
    summary: Summary
    cost: Cost

    @property
    def alone(self) -> str | None:
        """The model of a run of one model."""
        return str(self.settings["small_model_name"]) if self.command == "baseline" else None

    @property
    def kind(self) -> str:
        """What its scores are compared with."""
        if self.settings.get("takeover") == "random":
            return "random"
        if self.command == "ref_async_per_question":
            return "per_question"
        return str(self.settings.get("calibration") or "marginal")


@dataclass(frozen=True)
class Points:
    """Runs of the same questions with the same two models, in the order given."""

    target: Point
    draft: Point | None
    others: list[Point]

    @property
    def all(self) -> list[Point]:
        """Every run: target, draft, others."""
        return [self.target, *([self.draft] if self.draft else []), *self.others]

    @property
    def ids(self) -> list[str]:
        """The questions, in an order that tells nothing about them: that of the digests of their contents."""
        return sorted(self.target.right)

    def losses(self, point: Point) -> list[float]:
        """The target's share right less that of ``point``, question by question."""
        return [self.target.right[question] - point.right[question] for question in self.ids]


def read(paths: Sequence[Path]) -> Points:
    """Result folders, and folders of them, of which one is of the target alone. Raises UserError."""
    points = [_point(path) for path in dict.fromkeys(itertools.chain.from_iterable(map(_expand, paths)))]
    for one, two in itertools.combinations(points, 2):
        if one.name == two.name:
            raise UserError(f"{one.path} and {two.path} have the same name: rename one, so that they can be told apart")
    alone, others = [p for p in points if p.alone], [p for p in points if not p.alone]
    if not others:
        raise UserError("besides the target alone, a run of both models is needed (python -m ATTS.ref_async)")
    models = [(p.settings.get("small_model_name"), p.settings.get("eval_model_name")) for p in others]
    for point, model in zip(others, models, strict=True):
        if model != models[0]:
            raise UserError(
                f"{others[0].path} is of the models {' and '.join(map(str, models[0]))}, {point.path} of"
                f" {' and '.join(map(str, model))}: their runs are no points of one frontier"
            )
    draft, target = (_alone(alone, str(name)) for name in models[0])
    for point in alone:
        if point not in (draft, target):
            raise UserError(f"{point.path} is of {point.alone} alone, which is neither the draft nor the target")
    if target is None:
        raise UserError(
            f"none of the runs is of the target {models[0][1]} alone: make one with python -m ATTS.baseline on the same"
            " questions"
        )
    if not target.cost.draft_written:
        raise UserError(f"{target.path}: the target wrote nothing, so there is no cost to compare with")
    alone_cost = Cost(target.cost.draft_written, 0.0, 0.0, target.cost.wall_seconds)
    target = dataclasses.replace(target, cost=alone_cost)  # whichever model is alone stands in the draft's place
    for point in points:
        different = point.right.keys() ^ target.right.keys()
        if different:
            raise UserError(
                f"{point.path} and {target.path} are not of the same questions: {len(different)} are in one of them"
                " only"
            )
    return Points(target, draft, others)


def _expand(path: Path) -> list[Path]:
    """A result folder, or the result folders in a folder."""
    inside = sorted(file.parent for file in path.glob(f"*/{result_folder.SETTINGS}"))
    return inside if inside and not (path / result_folder.SETTINGS).is_file() else [path]


def _alone(points: Sequence[Point], model: str) -> Point | None:
    those = [point for point in points if point.alone == model]
    if len(those) > 1:
        raise UserError(f"{those[0].path} and {those[1].path} are both of {model} alone: give one of them")
    return those[0] if those else None


def _point(path: Path) -> Point:
    about = result_folder.about_of(path)
    if not about:
        raise UserError(f"{path} has no {result_folder.SETTINGS}: it is no result folder of this project")
    summary = result_folder.read_summary(path)
    if summary["owed"]:
        raise UserError(f"{path} owes {summary['owed']} samples: rerun its command to finish it")
    samples = finished(result_folder.samples(path))
    if len(samples) != summary["samples"] or not samples:
        raise UserError(
            f"{path} holds {len(samples)} finished samples, its {result_folder.SUMMARY} counts {summary['samples']}:"
            " rerun its command"
        )
    clock = summary.get("wall_seconds") if summary.get("samples_in_wall_seconds") == len(samples) else None
    return Point(
        name=path.resolve().name,
        path=path,
        command=about["command"],
        settings=about["settings"],
        decisive={name: value for name, value in about["settings"].items() if name in about["decisive"]},
        calibration=about.get("calibration"),
        digest=samples[0].get("calibration_digest"),
        samples=samples,
        right=_right(samples, summary),
        summary=summary,
        cost=_cost(samples, clock or blocks.wall_seconds(path, len(samples))),
    )


def _right(samples: Sequence[Record], summary: Summary) -> dict[str, float]:
    """Shares by question, as the folder was graded last."""
    ids = {sample["question_index"]: sample["question_id"] for sample in samples}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in summary["per_question"]:
        count = counts[ids[row["question_index"]]]
        count[0] += row["right"]
        count[1] += row["samples"]
    return {question: right / whole for question, (right, whole) in counts.items()}


def _cost(samples: Sequence[Record], seconds: float | None) -> Cost:
    counts = by_role.tokens(samples)
    written = {who: counts["kept"][who] + counts["discarded"][who] for who in ("draft", "target")}
    n = len(samples)
    return Cost(written["target"] / n, sum(map(_scored, samples)) / n, written["draft"] / n, seconds)


def _scored(sample: Record) -> int:
    """Tokens of the chunks that the target scored: those drafted right before."""
    scored = drafted = 0
    for entry in sample["full_history"]:
        if entry["model"] in DRAFTS:
            drafted = entry["tokens"]
        elif entry["model"] == Stage.SCORE.value:
            scored += drafted
    return scored


@dataclass(frozen=True)
class Mean:
    """A mean over questions with its 95 % interval."""

    mean: float
    low: float
    high: float


def share(values: ArrayLike) -> Mean:
    """Of values between 0 and 1, one a question."""
    interval = intervals.of_questions(values)
    return Mean(interval.rate, interval.low, interval.high)


def difference(values: ArrayLike) -> Mean:
    """Of differences of two runs, one a question."""
    return Mean(float(np.mean(np.asarray(values, dtype=np.float64))), *intervals.difference(values))
