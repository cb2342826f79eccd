"""Show when more turns stop paying: accuracy, tokens and time by turn, of one run or several.

python -m ATTS.by_turn results/NAME ... [--picture turns.png] [--json]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ATTS.problem import Problem
from ATTS.runs import by_turn, cli, store


@dataclass(frozen=True, kw_only=True)
class ByTurnSettings:
    """Flags of by_turn."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders."""

    picture: Path | None = None
    """Draw it into this file (.png, .pdf, .svg)."""

    json: bool = False
    """Print JSON."""


async def show(settings: ByTurnSettings) -> str:
    found = {}
    for folder in settings.runs:
        rows = store.read_summary(folder).get("by_turn")
        if not rows:
            raise Problem(f"{folder} tells nothing by turn: its summary is of an older version; give its command again")
        found[folder.name] = rows
    if settings.picture:
        by_turn.picture(found, settings.picture)
    if settings.json:
        return json.dumps(found, indent=1)
    return "\n\n".join(f"{name}\n\n{by_turn.table(rows)}" for name, rows in found.items())


if __name__ == "__main__":
    cli.run(ByTurnSettings, __doc__, show)
