"""The pages of a report: templates that escape everything, and what goes into them."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ATTS import __version__
from ATTS.analysis import tables
from ATTS.analysis.tables import percent
from ATTS.reporting import charts, pieces, tradeoff
from ATTS.reporting.runs import Run

PAGES = ("index", "questions", "transcript")
# No network, no inline script or style, nothing from elsewhere; texts can't become scripts even through the DOM.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
    " require-trusted-types-for 'script'; trusted-types pieces"
)
MARK = "atts-report"  # in every page: a folder without it is not overwritten


def write(folder: Path, paths: Sequence[Path], runs: Sequence[Run], refresh: int | None = None) -> None:
    """Everything. ``refresh``: seconds after which the overview loads itself again. Raises OSError, UserError."""
    questions = pieces.places(runs)
    with as_file(files("ATTS.reporting") / "static") as static:
        shutil.copytree(static, folder / "static", dirs_exist_ok=True)
    pieces.write(folder / "data", runs, questions)
    drawn = charts.draw(folder / "pictures", runs)
    found = tradeoff.find(folder / "pictures", [*paths, *(run.path for run in runs)])
    environment = Environment(
        loader=PackageLoader("ATTS.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": lambda value: f"{100 * value:.4g}"}
    content: dict[str, Any] = {
        "policy": POLICY,
        "mark": MARK,
        "version": __version__,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [_row(run) for run in runs],
        "count": len(questions),
        "differing": differing(runs),
        "letters": [run.letter for run in runs],
        "charts": drawn,
        "frontiers": found.frontiers,
        "certificates": found.certificates,
        "refresh": refresh,
    }
    for page in PAGES:
        text = environment.get_template(f"{page}.html").render(page=page, **content)
        (folder / f"{page}.html").write_text(text, encoding="utf-8", errors="replace")


def _row(run: Run) -> dict[str, Any]:
    """A run's line of the overview: words to show, and the numbers behind them."""
    row, against = run.row, run.row["against_first"]
    wall = charts.seconds(run)
    return {
        "letter": run.letter,
        "number": run.number,
        "name": run.name,
        "accuracy": tables.within(row["mean_accuracy"], (row["low"], row["high"])),
        "mean_accuracy": row["mean_accuracy"],
        "difference": tables.difference(against["accuracy"] if against else None),
        "target_tokens": run.written["target"] if run.written else None,
        "draft_tokens": run.written["draft"] if run.written else None,
        "wall": "-" if wall is None else f"{wall:.1f}",
        "wall_seconds": wall,
        "asked": run.rate,
        "rejection_rate": row["rejection_rate"],
        "samples": row["samples"],
        "questions": row["questions"],
        "missing": row["missing"],
        "statuses": sorted(row["by_status"].items(), key=lambda pair: -pair[1]),
    }


def differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The settings that decide what results mean and are not the same in all runs, and each run's value."""
    told = [run.about.get("decisive") or run.settings for run in runs]
    names = [name for name in dict.fromkeys(name for one in told for name in one) if name != "questions"]
    rows = [(name, ["-" if one.get(name) is None else str(one[name]) for one in told]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
