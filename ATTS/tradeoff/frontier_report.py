"""What finished runs of the same questions trade: accuracy to the target's against the target's work and time."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ATTS.analysis import pictures
from ATTS.analysis.tables import markdown, percent
from ATTS.console import printable
from ATTS.flags import Part, Range
from ATTS.store import atomic
from ATTS.tradeoff import curves, operating_points
from ATTS.tradeoff.curves import Curves
from ATTS.tradeoff.operating_points import Mean, Point, Points

COLUMNS = (
    *("run", "rate", "accuracy (95 %)", "difference (95 %)", "target's tokens", "scored", "draft's tokens", "wall s"),
    *("front", "non-inferior"),
)


@dataclass(frozen=True)
class Row:
    """One run. Tokens are parts of those that the target alone wrote a sample; ``difference`` is to the target's
    accuracy, question by question. ``front_...``: no other run is as accurate for less."""

    run: str
    rate: float | None
    kind: str | None
    on_rejection: str | None
    score: str | None
    questions: int
    samples: int
    accuracy: Mean
    difference: Mean | None
    target_tokens: float
    scored_tokens: float
    draft_tokens: float
    wall_seconds: float | None
    non_inferior: bool | None
    front_tokens: bool = False
    front_seconds: bool = False


@dataclass(frozen=True)
class Report:
    """All of it. ``margin``: a run is non-inferior whose difference is above its negative with 97.5 % confidence."""

    margin: float
    rows: list[Row]
    curves: dict[str, Curves]

    @property
    def json(self) -> bytes:
        """As bytes of JSON."""
        return atomic.as_json(dataclasses.asdict(self), allow_nan=False)


def report(paths: Sequence[Path], margin: float) -> Report:
    """Of result folders, or a folder of them. Raises UserError."""
    points = operating_points.read(paths)
    rows = [_row(point, points, margin) for point in points.all]
    fronts = [front([(c, row.accuracy.mean) for c, row in zip(costs, rows, strict=True)]) for costs in _costs(rows)]
    rows = [
        dataclasses.replace(row, front_tokens=tokens, front_seconds=seconds)
        for row, tokens, seconds in zip(rows, *fronts, strict=True)
    ]
    by_point = {point.name: curves.curves(point.samples, point.settings["repeats"]) for point in points.all}
    return Report(margin, rows, by_point)


def _costs(rows: Sequence[Row]) -> tuple[list[float | None], list[float | None]]:
    return [row.target_tokens for row in rows], [row.wall_seconds for row in rows]


def _row(point: Point, points: Points, margin: float) -> Row:
    target = points.target.cost
    both = point.alone is None
    difference = None
    if point is not points.target:
        difference = operating_points.difference([-loss for loss in points.losses(point)])
    by_score = both and point.command in ("ref_async", "ref_async_per_question")
    return Row(
        run=point.name,
        rate=point.settings.get("rejection_rate") if by_score else None,
        kind=point.kind if by_score else None,
        on_rejection=point.settings.get("on_rejection", "continue") if by_score else None,
        score=("random" if point.kind == "random" else point.settings.get("score", "mean")) if by_score else None,
        questions=len(points.ids),
        samples=len(point.samples),
        accuracy=operating_points.share([point.right[question] for question in points.ids]),
        difference=difference,
        target_tokens=point.cost.target_written / target.target_written,
        scored_tokens=point.cost.target_scored / target.target_written,
        draft_tokens=point.cost.draft_written / target.target_written,
        wall_seconds=point.cost.wall_seconds,
        non_inferior=None if difference is None else difference.low > -margin,
    )


def front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Of (cost, value): whether no other point has a value as high for a lower cost, or a higher one for the same.
    A point without a cost is not compared."""
    known = [(cost, value) for cost, value in points if cost is not None]

    def beaten(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in known)

    return [cost is not None and not beaten(cost, value) for cost, value in points]


def table(report: Report) -> str:
    """Markdown."""
    return markdown(COLUMNS, [_cells(row, report.margin) for row in report.rows])


def _cells(row: Row, margin: float) -> tuple[str, ...]:
    answer = {True: "yes", False: "no", None: "-"}
    on = [name for name, there in (("tokens", row.front_tokens), ("seconds", row.front_seconds)) if there]
    d = row.difference
    return (
        row.run,
        "-" if row.rate is None else f"{row.rate:g}",
        f"{percent(row.accuracy.mean)} ({percent(row.accuracy.low)} - {percent(row.accuracy.high)})",
        f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} - {100 * d.high:+.1f})" if d else "-",
        *map(percent, (row.target_tokens, row.scored_tokens, row.draft_tokens)),
        "-" if row.wall_seconds is None else f"{row.wall_seconds:.1f}",
        ", ".join(on) or "-",
        f"{answer[row.non_inferior]} ({100 * margin:g})" if d else "-",
    )


def picture(report: Report, path: Path) -> None:
    """Above: difference to the target against its tokens and against seconds. Below, for the runs on the front: the
    vote's and the best sample's accuracy over samples, and a sample's over turns."""
    with pictures.drawn(path, 12, 9, rows=2, columns=2) as (figure, (above, below)):
        costs = zip(
            above, _costs(report.rows), ("target's tokens, % of the target alone's", "wall seconds"), strict=True
        )
        for axes, values, label in costs:
            scale = 100 if axes is above[0] else 1
            _trade(axes, report, [None if value is None else scale * value for value in values], axes is above[0])
            axes.set_xlabel(label)
        above[0].set_ylabel("accuracy, points to the target (95 %)")
        figure.legend(*above[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        for number, row in enumerate(report.rows):
            if row.difference is None or row.front_tokens or row.front_seconds:
                _axes(below, report.curves[row.run], number)
        below[0].set(xlabel="samples", ylabel="accuracy, %: vote (line), any (faint)")
        below[1].set(xlabel="turns", ylabel="accuracy a sample, %")


def _trade(axes: Any, report: Report, costs: Sequence[float | None], tokens: bool) -> None:
    """One of the pictures above, with its front as a line and the margin as a band."""
    on_front = []
    for number, (row, cost) in enumerate(zip(report.rows, costs, strict=True)):
        if cost is None:
            continue
        d = row.difference or Mean(0.0, 0.0, 0.0)
        look = pictures.style(number) | {"linestyle": "none", "markersize": 6}
        errors = [[100 * (d.mean - d.low)], [100 * (d.high - d.mean)]]
        axes.errorbar([cost], [100 * d.mean], yerr=errors, capsize=3, label=printable(row.run), **look)
        if row.front_tokens if tokens else row.front_seconds:
            on_front.append((cost, 100 * d.mean))
    axes.plot(*zip(*sorted(on_front), strict=True), color="grey", linewidth=0.8, zorder=0)
    axes.axhspan(-100 * report.margin, 0, color="grey", alpha=0.15)
    axes.set_xlim(left=0)


def _axes(axes: Sequence[Any], curves: Curves, number: int) -> None:
    """A run's curves with their intervals; it looks as in the pictures above."""
    by_samples, by_turns, look = curves.samples, curves.turns, pictures.style(number)
    counts = [at.count for at in by_samples]
    axes[0].plot(counts, [100 * at.majority.mean for at in by_samples], **look)
    axes[0].plot(counts, [100 * at.any.mean for at in by_samples], alpha=0.4, **look)
    axes[1].plot([at.count for at in by_turns], [100 * at.mean.mean for at in by_turns], **look)
    for place, points in ((axes[0], [at.majority for at in by_samples]), (axes[1], [at.mean for at in by_turns])):
        pictures.band(place, range(1, len(points) + 1), ((point.low, point.high) for point in points), number)


Margin = Annotated[float, Range(0, 1, open_low=True, open_high=True)]


class FrontierReportSettings(Part):
    """Flags of frontier_report."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders of the same graded questions, or a folder of them: one of the target alone, one of the draft
    alone or none, the others of settings."""

    margin: Margin = 0.02
    """A run is non-inferior if its accuracy is above the target's less this, by the 95 % interval."""

    picture: Path | None = None
    """Draw it into this file (.png, .pdf, .svg)."""

    json: bool = False
    """Print JSON, with the curves."""


async def show(settings: FrontierReportSettings) -> str:
    """The report as a table or JSON; writes the picture if asked. Raises UserError."""
    result = report(settings.runs, settings.margin)
    if settings.picture:
        picture(result, settings.picture)
    return json.dumps(dataclasses.asdict(result), indent=1) if settings.json else table(result)
