"""The command: reads runs, writes the site."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Annotated

import tyro

from ATTS.analysis.folders import Truth
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import Part, Positive
from ATTS.reporting import runs, site
from ATTS.store import progress, result_folder


class ReportSettings(Part):
    """Flags of report."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders, of this project or published ones, recordings (.jsonl, .jsonl.gz), or folders of result folders.
    The others are compared with the first."""

    output: Path = Path("report")
    """Folder of the report; one that was made before is replaced."""

    truth: Truth = Truth()

    watch: bool = False
    """Write the report again while the runs go on, until all are finished (Ctrl-C ends it)."""

    every: Positive[int] = 30
    """--watch: seconds between two writings."""


async def report(settings: ReportSettings) -> Path:
    """Returns the path of the first page. Raises UserError."""
    paths = runs.expand(settings.runs)
    _prepare(settings.output)
    while True:
        going = [path for path in paths if path.is_dir() and settings.watch and not _finished(path)]
        found = await asyncio.to_thread(runs.read, paths, settings.truth)
        refresh = settings.every if going else None
        await asyncio.to_thread(site.write, settings.output, settings.runs, found, refresh)
        if not going:
            return settings.output / "index.html"
        say(f"{time.strftime('%H:%M:%S')} {settings.output}/index.html, {len(going)} of {len(paths)} runs go on")
        await asyncio.sleep(settings.every)


def _finished(path: Path) -> bool:
    """Whether a run has written its summary, which it does at its end, and no other is under way in the folder."""
    return result_folder.summary(path) is not None and progress.read(path) is None


def _prepare(folder: Path) -> None:
    """Empties a folder that holds a report. Raises UserError for one that holds anything else."""
    page = folder / "index.html"
    try:
        if not folder.exists() or not any(folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            return
        if not page.is_file() or site.MARK not in page.read_text(encoding="utf-8", errors="replace"):
            raise UserError(f"{folder} holds something else than a report: choose another --output")
        for inside in ("data", "pictures", "static"):
            shutil.rmtree(folder / inside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}") from None
