"""Every decision of a run whose level follows the rate, one JSON line each, in order.

A result folder keeps finished samples only. The level must learn the others' decisions too: one
that forgot them at each interruption would promise nothing about the decisions that were made.
"""

import errno
import json
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.method.conformal import Online
from ATTS.method.conformal.decision import Decision
from ATTS.method.score import recorded
from ATTS.store import atomic

JOURNAL = "decisions.jsonl"


class DecisionJournal:
    """Decides like ``online`` and writes each decision down before anybody acts on it.

    A line is with the operating system when the decision is returned, so it outlives the process however
    that ends; a crash of the machine may lose the last ones.
    """

    def __init__(self, online: Online) -> None:
        self._online = online
        self._file: int | None = None
        self._path = Path(JOURNAL)
        self._failed = False

    def open(self, folder: Path, kept: Iterable[Mapping[str, Any]]) -> None:
        """Reads what was decided in ``folder`` and appends to it. ``kept``: the decisions of finished
        samples, for a folder without a journal. Raises UserError."""
        path = folder / JOURNAL
        try:
            entries = list(read(path) if path.exists() else map(_entry, kept))
            for entry in entries:
                self._online.learn(entry["score"], entry["turn"], entry["rejected"])
                self._online.decisions = entry["order"] + 1
            # A torn last line must not grow into the next one.
            atomic.write(path, b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
            self._path = path
        except OSError as error:
            raise UserError(f"{path} can't be written: {error}") from None
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); restore it or choose another --output_dir") from None
        weakref.finalize(self, os.close, self._file)

    def __call__(self, score: float, turn: int) -> Decision:
        decision = self._online(score, turn)
        if self._file is not None:
            entry = {"order": decision.order, "turn": turn, "score": score, "rejected": decision.rejected}
            self._write(json.dumps(entry).encode() + b"\n")
        return decision

    def _write(self, line: bytes) -> None:
        """Raises UserError, and again for every line behind one that is torn."""
        assert self._file is not None
        try:
            if self._failed or os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._failed = True
            raise UserError(
                f"{self._path} can't be written: {error.strerror}; make room and rerun the same command to resume"
            ) from None


def _entry(decision: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: decision[name] for name in ("order", "turn", "rejected")}, "score": recorded(decision)}


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The decisions of a journal, in order; a last line that is torn is left out. Raises UserError."""
    entries = list(atomic.read_lines(path))
    for number, entry in enumerate(entries, 1):
        if entry is not None:
            yield entry
        elif number < len(entries):
            raise UserError(f"{path}, line {number} is damaged: restore it or choose another --output_dir")
