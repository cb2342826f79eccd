"""progress.json: what a run that is under way says of itself, once a second, for whoever looks into its folder."""

import os
from pathlib import Path
from typing import TypedDict, cast

import orjson

from ATTS.store.result_folder import parsed

FILE = "progress.json"


class ServerNow(TypedDict):
    """Requests at a server and before it, and the limit that lets them in."""

    in_flight: int
    waiting: int
    limit: int


class Status(TypedDict):
    """Counts are of this command's samples, but for ``total`` and ``before``. Shares are of 1, seconds are seconds."""

    at: float  # seconds of the epoch
    seconds: float  # since the first sample
    total: int
    before: int  # samples that the folder held already
    by_status: dict[str, int]  # samples that have ended
    running: int
    turns: int
    turns_per_second: float
    turns_a_sample: float | None  # as many as are expected
    tokens: dict[str, int]  # by author
    tokens_per_second: dict[str, float]
    scored: dict[str, list[int]]  # by turn: how many chunks were scored, and how many of them rejected
    asked: float | None  # the rejection rate that was asked for
    graded: int  # samples that notation alone can grade, and how many are right
    right: int
    seconds_left: float | None
    servers: dict[str, ServerNow]  # by role


def write(folder: Path, status: Status) -> None:
    """Replaces the file at once; what it held is lost without harm, so it isn't flushed. Raises OSError."""
    path = folder / FILE
    new = path.with_suffix(".new")
    new.write_bytes(orjson.dumps(status))
    os.replace(new, path)


def read(folder: Path) -> Status | None:
    """None where no run is under way."""
    content = parsed(folder / FILE)
    return (
        cast(Status, content) if isinstance(content, dict) and content.keys() >= Status.__annotations__.keys() else None
    )


def remove(folder: Path) -> None:
    """At the end of a run: its summary says more. Raises OSError."""
    (folder / FILE).unlink(missing_ok=True)
