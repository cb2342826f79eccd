"""Put finished runs beside each other in one table.

python -m ATTS.compare results/demo/draft results/demo/target results/demo/atts [--json]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ATTS.runs import cli, report


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Flags of compare."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders, in the order of the rows."""

    json: bool = False
    """Print JSON."""


async def compare(settings: CompareSettings) -> str:
    rows = [report.row(folder) for folder in settings.runs]
    return json.dumps(rows, indent=1) if settings.json else report.table(rows)


if __name__ == "__main__":
    cli.run(CompareSettings, __doc__, compare)
