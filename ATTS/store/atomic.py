"""Writes that are whole or not there, also after a crash of the machine, and that don't hold the event loop."""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ATTS.store import lock


def write(path: Path, data: bytes, new_folder: bool = True) -> None:
    """Replaces ``path`` by ``data``: temporary file beside it, fsync, rename, fsync of the folder. ``new_folder``: make
    its folder where there is none. Raises OSError, which names ``path``; it is then as it was."""
    with names(path):
        if new_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path, data) as made:
            os.replace(made, path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def names(path: Path) -> Iterator[None]:
    """An OSError of the block names ``path``, which one of a write or a flush doesn't, and no temporary file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def create(path: Path, data: bytes) -> bool:
    """Makes ``path`` with ``data`` unless it is there, in one step; whether it did. Raises OSError."""
    try:
        with _temporary(path, data) as made:
            try:
                os.link(made, path)
                os.unlink(made)
            except PermissionError:  # what Linux says of a file system without hard links
                os.replace(made, path)
    except FileExistsError:
        return False
    _sync_folder(path.parent)
    return True


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[str]:
    """A file beside ``path`` with ``data``, on the disk; removed where it isn't put to use."""
    while True:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        lock.flock(handle, wait=True)  # for sweep: somebody is at it
        if os.path.exists(temporary):
            break
        os.close(handle)  # another run's sweep was quicker
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide results from colleagues
            yield temporary
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


async def write_aside(path: Path, data: bytes, new_folder: bool = True) -> None:
    """``write`` in a thread; once begun it is finished even if the caller is cancelled."""
    await _aside(lambda: write(path, data, new_folder))


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what writes of ``folder/name`` left behind that were killed; those under way are left alone, and all
    where the file system can't tell, since it has no locks."""
    for path in folder.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if lock.flock(file.fileno()):
                path.unlink()


class Journal:
    """A file that lines are added to. A crash can tear at most the last ones, which readers must tolerate.

    ``add`` returns when its line is on the disk. Lines stand in the order in which they were added;
    those that come while others are being written share the next flush, so many writers wait for one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def add(self, line: bytes) -> None:
        """Raises OSError."""
        self._waiting.append(line.rstrip(b"\n") + b"\n")
        if self._next is None:
            self._next = asyncio.create_task(self._flush(self._writing))
        await asyncio.shield(self._next)

    async def _flush(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._writing, self._next = self._next, None
        lines, self._waiting = b"".join(self._waiting), []
        await _aside(lambda: self._append(lines))

    def _append(self, lines: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a torn line must not grow into the next one
                    file.write(b"\n")
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_folder(self.path.parent)


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file of JSON lines, None for a line that is damaged; nothing where there is no file.
    Raises OSError."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    for line in filter(None, lines):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        yield content if isinstance(content, dict) else None


def as_json(content: Any, allow_nan: bool) -> bytes:
    """Readable JSON. A half of a character (a lone surrogate), which no encoding has, is escaped."""
    try:
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=allow_nan).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(content, indent=1, allow_nan=allow_nan).encode() + b"\n"


async def _aside(work: Callable[[], None]) -> None:
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
