"""Shards of a run joined to one result folder, which is read and resumed like that of a run without shards."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from ATTS.analysis import metrics
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.merging.check import Joined, joined
from ATTS.store import atomic, lock, progress, under_way
from ATTS.store.result_folder import LOCK, SETTINGS, SUMMARY
from ATTS.store.shards import Place
from ATTS.store.summary import Summary


class MergeSettings(Part):
    """Flags of merge."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the whole run: a new one, or the one into which all shards wrote."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders that hold the shards, one or several each; none: OUT holds all of them."""


async def merge(settings: MergeSettings) -> str:
    """Checks the shards and writes the whole run; returns what it amounts to. Raises UserError, with every folder as it
    was."""
    out = settings.out
    folders = settings.folders or (out,)
    in_place = [folder.resolve() for folder in folders] == [out.resolve()]
    if not in_place and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and isn't empty: name a new folder")
    with contextlib.ExitStack() as held:
        for folder in dict.fromkeys(folders):
            held.enter_context(_alone(folder, in_place))
        whole = await asyncio.to_thread(joined, folders)
        try:
            if in_place:
                summary = await asyncio.to_thread(_finish, out, whole)
                _tidy(out, whole.places)
            else:
                summary = await asyncio.to_thread(_copied, out, whole)
        except OSError as error:
            raise UserError(f"{error.filename or out} can't be written: {error.strerror}") from None
    return f"{len(whole.places)} shards, {len(whole.files)} samples: {out}\n{metrics.describe(summary)}"


def _copied(out: Path, whole: Joined) -> Summary:
    """The whole run in a new folder, which gets its name when all is in it."""
    new = out.with_name(f".{out.name}.merging")
    shutil.rmtree(new, ignore_errors=True)  # of a merge that was killed
    new.mkdir(parents=True)
    for path in whole.files.values():
        shutil.copyfile(path, new / path.name)
    summary = _finish(new, whole)
    if out.is_dir():
        out.rmdir()
    os.replace(new, out)
    return summary


def _finish(folder: Path, whole: Joined) -> Summary:
    """Writes summary and settings into the ``folder`` that holds all samples. Raises OSError."""
    wall = [place.content["summary"] for place in whole.places]
    ran = [summary for summary in wall if summary is not None]
    summary: Summary = {
        **metrics.summarise(folder, whole.keys),
        "wall_seconds": max(one["wall_seconds"] for one in ran),  # they run side by side
        "samples_in_wall_seconds": sum(one["samples_in_wall_seconds"] for one in ran),
        "servers": {
            f"{role}, {place.path.stem}": report
            for place, one in zip(whole.places, ran, strict=True)
            for role, report in one["servers"].items()
        },
    }
    told = [{**_where(place), "folder": str(place.path.parent)} for place in whole.places]
    about = {**whole.about, "joined": told}
    atomic.write(folder / SUMMARY, atomic.as_json(summary, allow_nan=False))
    atomic.write(folder / SETTINGS, atomic.as_json(about, allow_nan=False))
    return summary


def _where(place: Place) -> dict[str, Any]:
    """Where a shard ran."""
    content = place.content
    kept: Mapping[str, Any] = content["about"]
    return {"shard": f"{content['shard']}/{content['of']}"} | {
        name: kept.get(name) for name in ("servers", "versions", "date")
    }


def _tidy(folder: Path, places: Sequence[Place]) -> None:
    """Removes what only shards need. Raises OSError."""
    for place in places:
        place.path.unlink()
        progress.remove(folder, place.path.stem)
    for path in folder.glob(f"{LOCK}.shard-*"):
        path.unlink()
    with contextlib.suppress(OSError):
        (folder / under_way.FOLDER).rmdir()


@contextlib.contextmanager
def _alone(folder: Path, to_be_written: bool) -> Iterator[None]:
    """Refuses a folder that a shard, or another merge, is writing to. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder")
    with contextlib.ExitStack() as held:
        shards = (path for path in folder.glob(f"{LOCK}.shard-*") if ".claim-" not in path.name)
        for path in [folder / LOCK, *shards] if to_be_written else shards:
            try:
                file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
                held.callback(os.close, file)
                claim = lock.hold(file, path)
                if claim is not None:
                    held.callback(claim.release)
            except BlockingIOError:
                what = path.name.removeprefix(f"{LOCK}.") if path.name != LOCK else "a run"
                raise UserError(f"{what} is writing to {folder}; wait for its end") from None
            except OSError as error:
                raise UserError(f"{path} can't be written: {error.strerror}") from None
        yield
