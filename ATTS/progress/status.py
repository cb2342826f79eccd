"""The state of a run in words, and the command that shows it for a run in another terminal."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ATTS.analysis import metrics
from ATTS.analysis.tables import percent
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.store import progress, result_folder
from ATTS.store.progress import Status

SILENT = 15.0  # seconds without news after which a run is taken to be gone


def lines(status: Status, by_turn: bool = False) -> list[tuple[str, str]]:
    """Each with its name. ``by_turn``: rejections turn by turn, too."""
    ended = sum(status["by_status"].values())
    done = status["before"] + ended
    left = status["total"] - done - status["running"]
    kinds = ", ".join(f"{count} {name}" for name, count in status["by_status"].items())
    told = [
        (
            "samples",
            f"{done:,} of {status['total']:,} done, {status['running']} under way, {left:,} owed"
            + (f" ({kinds})" if kinds else ""),
        ),
        ("turns", f"{status['turns']:,}, {status['turns_per_second']:.1f} a second"),
        (
            "tokens",
            ", ".join(
                f"{who} {n:,} ({status['tokens_per_second'][who]:.0f} a second)" for who, n in status["tokens"].items()
            ),
        ),
    ]
    if status["scored"]:
        told.append(("rejected", _rejected(list(status["scored"].values()), status["asked"])))
    if by_turn:
        told += [(f"  turn {int(turn) + 1}", _rejected([counts], None)) for turn, counts in status["scored"].items()]
    if status["servers"]:
        told.append(
            (
                "servers",
                "; ".join(
                    f"{role} {now['in_flight']} of {now['limit']} in flight, {now['waiting']} waiting"
                    for role, now in status["servers"].items()
                ),
            )
        )
    if status["graded"]:
        told.append(("accuracy", f"{percent(status['right'] / status['graded'])} of {status['graded']} samples so far"))
    if left or status["running"]:
        told.append(("left", span(status["seconds_left"])))
    return told


def _rejected(counts: list[list[int]], asked: float | None) -> str:
    scored, rejected = (sum(column) for column in zip(*counts, strict=True))
    return f"{percent(rejected / scored)} of {scored:,} scored" + (
        "" if asked is None else f" (asked {percent(asked)})"
    )


def span(seconds: float | None) -> str:
    """A time that is an estimate."""
    if seconds is None:
        return "not known yet"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


class WatchSettings(Part):
    """Flags of watch."""

    run: Annotated[Path, tyro.conf.Positional]
    """Result folder of a run that is under way in another terminal."""

    by_turn: bool = False
    """Rejections turn by turn, too."""

    once: bool = False
    """Show it once, and end."""


async def watch(settings: WatchSettings) -> str:
    """Shows a run's state until it ends; returns what it amounts to then. Raises UserError."""
    folder = settings.run
    if not folder.is_dir():
        raise UserError(f"{folder} is no result folder")
    terminal = sys.stdout.isatty()
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        said = ""
        while (status := progress.read(folder)) is not None:
            silent = time.time() - status["at"]
            told = lines(status, settings.by_turn)
            if silent > SILENT:
                raise UserError(
                    f"the run in {folder} has not been heard of for {silent:.0f} s: it was killed, or is on another"
                    " machine whose clock differs. Rerun its command to resume"
                )
            text = "\n".join(f"{name:<10}{what}" for name, what in told)
            if settings.once:
                return text
            if terminal:
                live.update(Text(text), refresh=True)
            elif text != said:
                print("; ".join(f"{name} {what}" for name, what in told), flush=True)
            said = text
            await asyncio.sleep(1.0 if terminal else 30.0)
    summary = result_folder.summary(folder)
    if summary is None:
        raise UserError(f"no run is under way in {folder}, and it has no summary.json: give the run's command again")
    return metrics.describe(summary)
