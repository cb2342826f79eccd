"""What a report shows of a sample: its chunks with their decisions; and what is kept of it in memory."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ATTS.analysis.metrics import rejections
from ATTS.errors import ExitStatus
from ATTS.method.score import SCORES, recorded
from ATTS.method.types import Stage
from ATTS.store.records import OWED, HistoryEntry, Record

AUTHORS = {stage.value: stage.author for stage in Stage}
DISCARDED = {stage.value for stage in Stage if stage.discarded}
KEPT = ("problem_index", "question_index", "question_id", "repeat", "schema", "final_answer", "exit_status")
KEPT_TOO = ("reference_answer", "duration_seconds", "started_at", "group", "confidence")
USED = ("written_tokens", "queue_seconds", "serve_seconds", "requests")


@dataclass
class Columns:
    """Numbers of all finished samples of a run, in arrays: a folder's texts never are in memory together.

    ``sample`` counts the finished samples in their order; ``spans`` are the seconds of the epoch, by the model that
    worked then, at which requests began and ended.
    """

    sample: "array[int]" = field(default_factory=lambda: array("l"))
    turn: "array[int]" = field(default_factory=lambda: array("l"))
    score: "array[float]" = field(default_factory=lambda: array("d"))
    rejected: "array[int]" = field(default_factory=lambda: array("b"))
    spans: dict[str, tuple["array[float]", "array[float]"]] = field(default_factory=dict)
    samples: int = 0
    _shared: dict[Any, Any] = field(default_factory=dict)

    def keep(self, sample: Record) -> Record:
        """Takes a sample's numbers, and returns it without its texts, whose parts are shared where they are alike."""
        if sample.get("exit_status", ExitStatus.ANSWERED) not in OWED:
            self._scores(sample)
            self._spans(sample)
            self.samples += 1
        small = _only(sample, (*KEPT, *KEPT_TOO))
        small["question"] = self._share(sample.get("question", ""))
        if "usage" in sample:
            small["usage"] = {stage: _only(used, USED) for stage, used in sample["usage"].items()}
        small["full_history"] = [self._entry(entry) for entry in sample["full_history"]]
        return cast(Record, small)

    def _entry(self, entry: HistoryEntry) -> HistoryEntry:
        kept = _only(entry, ("turn", "model", "rejected", "accepted"))
        return cast(HistoryEntry, self._shared.setdefault(tuple(kept.items()), kept))

    def _share(self, text: str) -> str:
        return cast(str, self._shared.setdefault(text, text))

    def _scores(self, sample: Record) -> None:
        scored = (entry for entry in sample["full_history"] if entry["model"] == Stage.SCORE.value)
        for entry, rejected in zip(scored, rejections(sample["full_history"]), strict=True):
            value = recorded(entry)
            if value is None or not math.isfinite(value):
                continue
            self.sample.append(self.samples)
            self.turn.append(entry["turn"])
            self.score.append(value)
            self.rejected.append(bool(rejected))

    def _spans(self, sample: Record) -> None:
        if not sample.get("started_at"):
            return
        for entry in sample["full_history"]:
            if "at" not in entry:
                continue
            who = AUTHORS.get(entry["model"]) or "target"
            begins, ends = self.spans.setdefault(who, (array("d"), array("d")))
            begin = sample["started_at"] + entry["at"] + entry["queued"]
            begins.append(begin)
            ends.append(begin + entry["seconds"])


def _only(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content}


def shown(sample: Record, alone: str | None = None) -> dict[str, Any]:
    """A sample as its transcript shows it; docs/REPORT.md lists the keys. ``alone``: of a run of one model, which of
    the two it is."""
    content: dict[str, Any] = {
        "i": sample["problem_index"],
        "a": sample["final_answer"],
        "s": sample.get("exit_status"),
        "why": sample.get("reason"),
        "d": _finite(sample.get("duration_seconds")),
        "c": [{**one, "by": one["by"] and (alone or one["by"])} for one in chunks(sample["full_history"])],
        "ahead": len(sample.get("discarded", ())),
    }
    return content


def chunks(history: list[HistoryEntry]) -> list[dict[str, Any]]:
    """The history chunk by chunk, each with the score or grade that it got. A score without a chunk before it stands
    by itself."""
    found: list[dict[str, Any]] = []
    decided = iter(rejections(history))
    for entry in history:
        kind = entry["model"]
        if kind in (Stage.SCORE.value, Stage.GRADE.value):
            if not found or "score" in found[-1]:
                found.append({"by": None, "t": entry["turn"]})
            found[-1]["score"] = _score(entry, next(decided)) if kind == Stage.SCORE.value else _grade(entry)
            continue
        text = entry.get("discarded") if kind in DISCARDED else entry.get("output")
        chunk: dict[str, Any] = {"by": AUTHORS.get(kind), "t": entry["turn"], "x": text or ""}
        if AUTHORS.get(kind) is None:
            chunk["kind"] = kind or "text"
        if kind in DISCARDED:
            chunk["gone"] = True
        for short, name in (("n", "tokens"), ("sec", "seconds"), ("q", "queued"), ("at", "at")):
            if name in entry:
                chunk[short] = _finite(cast(Mapping[str, Any], entry)[name])
        if entry.get("ended"):
            chunk["end"] = True
        if entry.get("accepted") is False:
            chunk["gone"] = True
        found.append(chunk)
    return found


def _score(entry: HistoryEntry, rejected: bool) -> dict[str, Any]:
    name = next((score.name for score in SCORES.values() if score.key != "ppl" and score.key in entry), "ppl")
    content: dict[str, Any] = {"name": name, "v": _finite(recorded(entry)), "pc": _finite(entry.get("percentile"))}
    content["rej"] = rejected
    for short, key in (("p", "p_value"), ("level", "level"), ("sec", "seconds"), ("q", "queued")):
        if key in entry:
            content[short] = _finite(cast(Mapping[str, Any], entry)[key])
    return content


def _grade(entry: HistoryEntry) -> dict[str, Any]:
    return {"name": "grade", "v": _finite(entry.get("score")), "rej": entry.get("accepted") is False}


def _finite(value: Any) -> float | None:
    """Published scores may be infinite, which JSON has no word for."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
