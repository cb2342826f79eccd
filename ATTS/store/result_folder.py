"""The result folder: one file a sample, written whole or not at all, resumed by content."""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ATTS.errors import UserError
from ATTS.store import atomic
from ATTS.store.provenance import differences
from ATTS.store.records import OWED, SCHEMA, Key, Record

SETTINGS = "settings.json"
SUMMARY = "summary.json"


class ResultStore:
    """A folder that one run writes to. Use as a context manager: it holds a lock on the folder."""

    def __init__(self, folder: Path, about: Mapping[str, Any], force: bool) -> None:
        """Opens or makes ``folder`` for the run that ``about`` describes.

        ``about["decisive"]`` are the settings that decide what results mean. A folder made with
        others is refused with the difference, unless ``force``. Raises UserError.
        """
        self.folder = folder
        self._lock: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UserError(f"another run is writing to {folder}") from None
        except OSError as error:
            self.close()
            raise UserError(f"result folder {folder} can't be written to: {error}") from None
        try:
            self._check(about, force)
            atomic.write(folder / SETTINGS, _json(about))
        except OSError as error:
            self.close()
            raise UserError(f"result folder {folder} can't be written to: {error}") from None
        except BaseException:
            self.close()
            raise

    def _check(self, about: Mapping[str, Any], force: bool) -> None:
        path = self.folder / SETTINGS
        if not path.exists():
            if next(self.folder.glob("problem_*.json"), None) and not force:
                raise UserError(
                    f"{self.folder} holds results without {SETTINGS}, so of unknown origin; choose another"
                    " --output_dir, or --force to add to them"
                )
            return
        try:
            made = json.loads(path.read_text())["decisive"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); restore it or choose another --output_dir") from None
        changed = differences(made, about["decisive"])
        if changed and not force:
            raise UserError(
                f"{self.folder} holds results of another run:\n  "
                + "\n  ".join(changed)
                + "\nchoose another --output_dir, or --force to mix them"
            )

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def owed(self, keys: Sequence[Key]) -> list[Key]:
        """Those of ``keys`` without a finished sample. Raises UserError if a file is another question's."""
        done = self.finished(keys)
        return [key for key in keys if key.index not in done]

    def finished(self, keys: Sequence[Key]) -> set[int]:
        """Indexes of the finished samples among ``keys``. Raises UserError if a file is another question's.

        A file counts by its content: one that is torn is work still owed.
        """
        there = {name for name in os.listdir(self.folder) if name.startswith("problem_")}
        done = set()
        for key in keys if there else ():
            path = self.path(key.index)
            found = read(path) if path.name in there else None
            if found is None:
                continue
            if found.get("question_id") != key.question.id or found.get("repeat") != key.repeat:
                raise UserError(
                    f"{path} is a sample of another question than this data set's question"
                    f" {key.question.index}: the data set has changed; choose another --output_dir"
                )
            if found.get("exit_status") not in OWED:
                done.add(key.index)
        return done

    def path(self, index: int) -> Path:
        return self.folder / f"problem_{index:04d}.json"

    async def save(self, content: Record) -> None:
        """Writes one sample; once begun it is finished even if the run is cancelled."""
        writing = asyncio.ensure_future(
            asyncio.to_thread(atomic.write, self.path(content["problem_index"]), _json(content))
        )
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise

    def summary(self) -> dict[str, Any]:
        """The summary of an earlier run of the same command; empty if there is none."""
        try:
            return dict(json.loads((self.folder / SUMMARY).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        atomic.write(self.folder / SUMMARY, _json(summary))


def update_summary(folder: Path, news: Mapping[str, Any]) -> None:
    """Replaces what a finished run's summary says of ``news``; a folder without a summary stays without."""
    path = folder / SUMMARY
    if path.exists():
        atomic.write(path, _json({**json.loads(path.read_text()), **news}))


def read(path: Path) -> Record | None:
    """A sample's record; None for a file that is missing or torn, which is work still owed."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        content = orjson.loads(raw)
    except ValueError:  # torn, or a published one with Infinity in it, which only the standard library reads
        try:
            content = json.loads(raw)
        except ValueError:
            return None
    if not isinstance(content, dict) or "problem_index" not in content or "full_history" not in content:
        return None
    if content.get("schema", SCHEMA) != SCHEMA:
        raise UserError(f"{path} has schema {content['schema']}; this version reads {SCHEMA}")
    return content


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run amounted to. Raises UserError if it isn't finished."""
    try:
        return dict(json.loads((folder / SUMMARY).read_text()))
    except FileNotFoundError:
        raise UserError(f"{folder} has no {SUMMARY}: the run is not finished; give its command again") from None
    except ValueError as error:
        raise UserError(f"{folder / SUMMARY} is damaged: {error}") from None


def samples(folder: Path) -> Iterator[Record]:
    """Every whole sample of a result folder, in the order of its index."""
    numbered = []
    for path in folder.glob("problem_*.json"):
        number = path.stem.removeprefix("problem_")
        if number.isdigit():
            numbered.append((int(number), path))
    for _, path in sorted(numbered):
        found = read(path)
        if found is not None:
            yield found


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
