"""What a run that isn't finished has so far: a JSON line each, behind a line that says for what."""

import json
import os
from pathlib import Path
from typing import Any

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.store import atomic, lock

Entry = dict[str, Any]


class Journal:
    """A file beside the one that is being made; ``entries`` are those of an interrupted run for the same. It is locked
    until it is closed or removed: one run at a time makes a file."""

    def __init__(self, array: Path, digest: str) -> None:
        """``digest`` says what it is for: a file for anything else is started anew. Raises UserError."""
        self.path = beside(array)
        self._journal = atomic.Journal(self.path)
        header = {"for": digest}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._claim = _locked(self.path)
            for name in (array.name, array.with_suffix(".json").name):
                atomic.sweep(array.parent, name)
            whole = [entry for entry in atomic.read_lines(self.path) if entry is not None]
            if not whole or whole[0] != header:
                if len(whole) > 1:
                    say(f"{self.path} is of another run and is started anew")
                os.ftruncate(self._file, 0)
                os.write(self._file, json.dumps(header).encode() + b"\n")
                os.fsync(self._file)
                whole = [header]
        except BlockingIOError:
            raise UserError(f"another run is making {array}; wait for its end, or name another file") from None
        except OSError as error:
            raise UserError(f"{self.path} can't be written: {error.strerror}") from None
        self.entries: list[Entry] = whole[1:]

    async def add(self, entry: Entry) -> None:
        """Returns when the entry is on the disk. Raises UserError."""
        try:
            await self._journal.add(json.dumps(entry).encode())
        except OSError as error:
            raise UserError(
                f"{self.path} can't be written: {error.strerror}; what stands there is kept. Make room and rerun the"
                " same command to resume"
            ) from None
        self.entries.append(entry)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)
        if self._claim is not None:
            self._claim.release()

    def remove(self) -> None:
        """Deletes the file: what it held is in the array."""
        self.path.unlink(missing_ok=True)


def beside(made: Path) -> Path:
    """Where the journal of a file is. A path without .npy keeps all of its name, so that no two share one."""
    name = made.stem if made.suffix == ".npy" else f"{made.name}.array"
    return made.with_name(f"{name}.partial.jsonl")


def _locked(path: Path) -> tuple[int, lock.Claim | None]:
    """A descriptor of the file at ``path``, locked. Raises BlockingIOError where another run has it."""
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        try:
            claim = lock.hold(file, path)
            if claim or (path.exists() and os.path.samestat(os.fstat(file), path.stat())):
                return file, claim
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # who had it has just removed it
