"""The log of runs that are made block by block: which has done which part of the questions, and how long it took."""

import json
from collections import Counter
from pathlib import Path
from typing import TypedDict

from ATTS.errors import UserError
from ATTS.store import atomic
from ATTS.store.result_folder import parsed

FILE = "blocks.json"
CALIBRATION = "calibration of "  # before the name of a run whose calibration an entry is of


class BlockEntry(TypedDict):
    """A part of the questions that a run has done."""

    method: str  # the name of the run's folder, or :data:`CALIBRATION` and that
    block: int
    wall_seconds: float
    samples: int


class BlockLog:
    """The entries in a file, in the order in which they were done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        atomic.sweep(path.parent)  # those of the command that makes the runs, too
        found = parsed(path) if path.is_file() else []
        if not isinstance(found, list):
            raise UserError(f"{path} is damaged: restore it, or choose another folder")
        self.blocks: list[BlockEntry] = found

    def has(self, method: str, block: int) -> bool:
        """Whether a run has done a block."""
        return any(done["method"] == method and done["block"] == block for done in self.blocks)

    def add(self, method: str, block: int, seconds: float, samples: int) -> None:
        """Notes a block as done, on the disk."""
        self.blocks.append({"method": method, "block": block, "wall_seconds": seconds, "samples": samples})
        atomic.write(self._path, json.dumps(self.blocks, indent=1).encode() + b"\n")

    def whole(self) -> list[str]:
        """The runs that have done all blocks that any has, in the order in which they began."""
        counts = Counter(block["method"] for block in self.blocks if not block["method"].startswith(CALIBRATION))
        return [name for name, count in counts.items() if count == max(counts.values())]


def wall_seconds(folder: Path, samples: int) -> float | None:
    """Of a run that was made in blocks, by the log beside its folder; None unless that is of all its ``samples``."""
    content = parsed(folder.resolve().parent / FILE)
    blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
    own = [block for block in blocks if block.get("method") == folder.resolve().name]
    if not own or sum(block["samples"] for block in own) != samples:
        return None
    return float(sum(block["wall_seconds"] for block in own))
