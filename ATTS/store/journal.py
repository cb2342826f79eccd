"""What a run that isn't finished has so far: a JSON line each, behind a line that says for what."""

import json
from pathlib import Path
from typing import Any

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.store import atomic

Entry = dict[str, Any]


class Journal:
    """A file beside the one that is being made; ``entries`` are those of an interrupted run for the same."""

    def __init__(self, array: Path, digest: str) -> None:
        """``digest`` says what it is for: a file for anything else is started anew. Raises UserError."""
        name = array.stem if array.suffix == ".npy" else f"{array.name}.array"
        self.path = array.with_name(f"{name}.partial.jsonl")
        self._journal = atomic.Journal(self.path)
        header = {"for": digest}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = [entry for entry in atomic.read_lines(self.path) if entry is not None]
            if not whole or whole[0] != header:
                if len(whole) > 1:
                    say(f"{self.path} is of another run and is started anew")
                atomic.write(self.path, json.dumps(header).encode() + b"\n")
                whole = [header]
        except OSError as error:
            raise UserError(f"{self.path} can't be written: {error}") from None
        self.entries: list[Entry] = whole[1:]

    async def add(self, entry: Entry) -> None:
        """Returns when the entry is on the disk. Raises UserError."""
        try:
            await self._journal.add(json.dumps(entry).encode())
        except OSError as error:
            raise UserError(f"{self.path} can't be written: {error.strerror}; what stands there is kept") from None
        self.entries.append(entry)

    def remove(self) -> None:
        """Deletes the file: what it held is in the array."""
        self.path.unlink(missing_ok=True)
