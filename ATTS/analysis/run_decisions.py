"""The scored chunks of a finished run and what was decided about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis import metrics
from ATTS.analysis.grading import finished
from ATTS.errors import UserError
from ATTS.method.score import recorded
from ATTS.method.types import Stage
from ATTS.store.recording import read_results
from ATTS.store.records import Record
from ATTS.store.result_folder import about_of, samples

Rejected = NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """The scored chunks of a run, a column each, in the order in which they were decided.

    A published run, which doesn't tell that order, is taken sample by sample, as its files are numbered.
    """

    question: NDArray[np.int_]
    sample: NDArray[np.int_]
    turn: NDArray[np.int_]
    score: NDArray[np.float64]
    rejected: Rejected
    group: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, which: NDArray[Any]) -> "Decisions":
        """Some of them, or all in another order."""
        return Decisions(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def decisions(samples: Sequence[Record], repeats: int) -> Decisions:
    """Raises UserError if there are none, or scores that are not finite."""
    rows = []
    for sample in samples:
        index = sample["problem_index"]
        question = sample.get("question_index", index // repeats)
        scored = [entry for entry in sample["full_history"] if entry["model"] == Stage.SCORE.value]
        for entry, rejected in zip(scored, metrics.rejections(sample["full_history"]), strict=True):
            decided_by = recorded(entry)
            if decided_by is None:
                continue
            order = entry.get("order")
            rows.append((order, index, question, entry["turn"], decided_by, rejected, sample.get("group", "")))
    if not rows:
        raise UserError("these samples record no score")
    numbered = all(row[0] is not None for row in rows)
    rows.sort(key=lambda row: (row[0] if numbered else 0, row[1], row[3]))
    _, index_, question_, turn, score, rejected_, group = zip(*rows, strict=True)
    if not np.isfinite(score).all():
        raise UserError(f"{int((~np.isfinite(score)).sum())} of {len(rows)} recorded scores are not finite")
    return Decisions(*map(np.array, (question_, index_, turn, score, rejected_, group)))


def read(path: Path, repeats: int | None) -> tuple[list[Record], dict[str, Any], int]:
    """Finished samples of a result folder or a recording, its settings.json ({} if there is none) and the
    repeats of a question. Raises UserError."""
    about: dict[str, Any] = {}
    if path.is_file():
        records = read_results(path)
    elif path.is_dir():
        records = finished(samples(path))
        about = about_of(path)
    else:
        raise UserError(f"{path} is neither a result folder nor a recording")
    if not records:
        raise UserError(f"{path} holds no finished samples (problem_XXXX.json)")
    return records, about, repeats or about.get("settings", {}).get("repeats", 16)
