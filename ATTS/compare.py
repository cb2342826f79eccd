"""Put finished runs beside each other in one table; differences and speed-ups are against the first.

python -m ATTS.compare results/demo/draft results/demo/target results/demo/atts [--json]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ATTS.runs import cli, paired, report
from ATTS.runs.settings.parts import default_data_dir


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Flags of compare."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders, in the order of the rows; the others are compared with the first, question by question."""

    dataset_name: str | None = None
    """Data set with the right answers, for published folders, which don't hold them."""

    repeats: int | None = None
    """Samples of every question; default: the folder's own, else 16."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    json: bool = False
    """Print JSON."""


async def compare(settings: CompareSettings) -> str:
    data_dir = settings.data_dir or default_data_dir()
    rows = paired.rows(settings.runs, settings.dataset_name, settings.repeats, data_dir)
    return json.dumps(rows, indent=1) if settings.json else report.table(rows)


if __name__ == "__main__":
    cli.run(CompareSettings, __doc__, compare)
