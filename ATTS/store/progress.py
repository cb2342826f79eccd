"""progress.json: what a run that is under way says of itself, once a second, for whoever looks into its folder."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, TypeVar, cast

import orjson

from ATTS.store.result_folder import parsed

FILE = "progress.json"
PREFIX = "progress."
Number = TypeVar("Number", int, float)


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


def write(folder: Path, status: Status, shard: str = "") -> None:
    """Replaces the file at once; what it held is lost without harm, so it isn't flushed. ``shard``: the name of the
    part of the run that it is about. Raises OSError."""
    path = _path(folder, shard)
    new = path.with_suffix(".new")
    new.write_bytes(orjson.dumps(status))
    os.replace(new, path)


def read(folder: Path) -> Status | None:
    """Of the run, or of all shards together that are under way there; None where none is."""
    found = [parsed(path) for path in (folder / FILE, *sorted(folder.glob(f"{PREFIX}shard-*.json")))]
    whole = [cast(Status, c) for c in found if isinstance(c, dict) and c.keys() >= Status.__annotations__.keys()]
    return functools.reduce(_together, whole) if whole else None


def _together(one: Status, other: Status) -> Status:
    """Of two shards: counts and rates are added, times are the longer, and news as old as the older."""
    turns = [status["turns_a_sample"] for status in (one, other)]
    left = [status["seconds_left"] for status in (one, other)]
    scored = {
        turn: [a + b for a, b in zip(one["scored"].get(turn, [0, 0]), other["scored"].get(turn, [0, 0]), strict=True)]
        for turn in sorted(one["scored"].keys() | other["scored"].keys(), key=int)
    }
    servers: dict[str, ServerNow] = dict(one["servers"])
    for role, now in other["servers"].items():
        known = servers.get(role, {"in_flight": 0, "waiting": 0, "limit": 0})
        servers[role] = {
            "in_flight": known["in_flight"] + now["in_flight"],
            "waiting": known["waiting"] + now["waiting"],
            "limit": known["limit"] + now["limit"],
        }
    return {
        "at": min(one["at"], other["at"]),
        "seconds": max(one["seconds"], other["seconds"]),
        "total": one["total"] + other["total"],
        "before": one["before"] + other["before"],
        "by_status": _sum(one["by_status"], other["by_status"]),
        "running": one["running"] + other["running"],
        "turns": one["turns"] + other["turns"],
        "turns_per_second": one["turns_per_second"] + other["turns_per_second"],
        "turns_a_sample": None if None in turns else sum(filter(None, turns)) / 2,
        "tokens": _sum(one["tokens"], other["tokens"]),
        "tokens_per_second": _sum(one["tokens_per_second"], other["tokens_per_second"]),
        "scored": scored,
        "asked": one["asked"],
        "graded": one["graded"] + other["graded"],
        "right": one["right"] + other["right"],
        "seconds_left": None if None in left else max(filter(None, left), default=0.0),
        "servers": servers,
    }


def _sum(one: Mapping[str, Number], other: Mapping[str, Number]) -> dict[str, Number]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *(n for n in other if n not in one))}


def _path(folder: Path, shard: str) -> Path:
    return folder / (f"{PREFIX}{shard}.json" if shard else FILE)


def remove(folder: Path, shard: str = "") -> None:
    """At the end of a run: its summary says more. Raises OSError."""
    _path(folder, shard).unlink(missing_ok=True)
