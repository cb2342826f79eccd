"""What a shard of a run says of itself, in a file of its own beside the samples: ``shard-2-of-8.json``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

from ATTS.errors import UserError
from ATTS.store import atomic
from ATTS.store.provenance import digest
from ATTS.store.records import Key
from ATTS.store.result_folder import ResultStore, parsed
from ATTS.store.summary import Summary
from ATTS.tasks.shards import Shard


class ShardFile(TypedDict):
    """A shard and the run that it is part of."""

    shard: int  # from 1
    of: int
    samples: list[int]  # numbers of its samples
    all_samples: int  # of the whole run
    questions_digest: str  # of all questions of the run
    repeats: int
    about: dict[str, Any]  # as the settings.json of a run without shards
    summary: Summary | None  # of its samples; None until it has ended


class Place(NamedTuple):
    """Where a shard's file is, and what it holds."""

    path: Path
    content: ShardFile


def describe(shard: Shard, own: Sequence[Key], every: Sequence[Key], about: Mapping[str, Any]) -> ShardFile:
    """Of a shard that begins. ``own``: its samples, of ``every`` sample of the run."""
    ids = {str(key.question.index): key.question.id for key in every}
    return {
        "shard": shard.number,
        "of": shard.of,
        "samples": [key.index for key in own],
        "all_samples": len(every),
        "questions_digest": digest(ids),
        "repeats": every[0].repeats,
        "about": dict(about),
        "summary": None,
    }


class ShardStore(ResultStore):
    """A folder that a shard writes to, alone or beside others: what is of the run, other than its samples, stands in
    a file for each."""

    def __init__(self, folder: Path, force: bool, content: ShardFile) -> None:
        """Raises UserError."""
        self._shard = Shard(content["shard"], content["of"])
        super().__init__(folder, {**content["about"], "shards": content["of"]}, force, self._shard.name)
        self._content: ShardFile = {**content, "summary": self.summary()}
        try:
            self._write()
        except OSError as error:
            self.close()
            raise UserError(f"result folder {folder} can't be written to: {error}") from None

    def _write(self) -> None:
        atomic.write(self._path, atomic.as_json(self._content, allow_nan=False), new_folder=False)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self._shard.name}.json"

    def summary(self) -> Summary | None:
        """Of the shard's samples; None before it has ended."""
        content = parsed(self._path)
        return content.get("summary") if isinstance(content, dict) else None

    def save_summary(self, summary: Summary) -> None:
        """Into the shard's file. Raises OSError."""
        self._content["summary"] = summary
        self._write()


def read(folder: Path) -> list[Place]:
    """All of a folder. Raises UserError."""
    found = []
    for where in folder.glob("shard-*-of-*.json"):
        content = parsed(where)
        if not isinstance(content, dict) or content.keys() < ShardFile.__annotations__.keys():
            raise UserError(f"{where} is damaged: rerun that shard's command")
        found.append(Place(where, cast(ShardFile, content)))
    return sorted(found, key=lambda place: (place.content["of"], place.content["shard"]))


def remove(places: Sequence[Place]) -> None:
    """Of shards that are joined. Raises OSError."""
    for place in places:
        os.unlink(place.path)
