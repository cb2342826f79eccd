"""Tables of finished runs."""

import json
from pathlib import Path
from typing import Any

from ATTS.problem import Problem
from ATTS.runs.metrics import percent
from ATTS.runs.store import SUMMARY

COLUMNS = (
    "run",
    "accuracy (95 %)",
    "rejected",
    "handed over",
    "tokens written",
    "by the target",
    "wall s",
    "samples/s",
)


def row(folder: Path) -> dict[str, Any]:
    """One run's summary, by the name of its folder. Raises Problem if the run isn't finished."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
    except FileNotFoundError:
        raise Problem(f"{folder} has no {SUMMARY}: the run is not finished; give its command again") from None
    except ValueError as error:
        raise Problem(f"{folder / SUMMARY} is damaged: {error}") from None
    return {"run": folder.name, **summary}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    now = run["samples_in_wall_seconds"]
    whole = now == run["samples"]  # a resumed run's clock saw only its last part
    return (
        run["run"],
        f"{percent(run['mean_accuracy'])} ({percent(run['low'])} - {percent(run['high'])})",
        percent(run["rejection_rate"]),
        percent(run["takeover_rate"]) if run["scored"] else "-",
        f"{sum(run['written_tokens'].values()):,}",
        percent(run["target_share"]) if run["scored"] else "-",
        f"{run['wall_seconds']:.1f}" if whole else "resumed",
        f"{now / run['wall_seconds']:.1f}" if whole else "resumed",
    )
