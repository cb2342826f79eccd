"""The data of a report as scripts: pages that are opened from the disk may load these, but no JSON."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ATTS.analysis import folders
from ATTS.reporting.runs import Run, statuses, taken_over
from ATTS.reporting.samples import shown
from ATTS.store.records import Record

SEARCHED = 400  # characters of a question in the list of questions


@dataclass(frozen=True)
class Place:
    """A question of the report. ``rows``: by run, where its samples stand in the run's folder."""

    text: str
    reference: str
    rows: dict[int, list[int]]


def places(runs: Sequence[Run]) -> list[Place]:
    """The questions of all runs in the order of the first; those of the same text are one. A text that a data set
    holds twice is two questions."""
    found: dict[tuple[str, int], Place] = {}
    for run in runs:
        by_question: dict[int, list[int]] = defaultdict(list)
        for row, sample in enumerate(run.folder.samples):
            by_question[sample["question_index"]].append(row)
        alike: Counter[str] = Counter()
        for question, rows in sorted(by_question.items()):
            sample = run.folder.samples[rows[0]]
            text = sample.get("question") or sample.get("question_id") or f"question {question}"
            place = found.setdefault((text, alike[text]), Place(text, run.folder.references[rows[0]], {}))
            place.rows[run.number] = rows
            alike[text] += 1
    return list(found.values())


def index(runs: Sequence[Run], questions: Sequence[Place]) -> dict[str, Any]:
    """What the list of questions and the way through the samples need. Of a sample: its state, how it ended (a place
    in ``ended``) and the chunks that the target wrote."""
    ended = statuses(runs)
    number = {name: place for place, name in enumerate(ended)}
    return {
        "ended": ended,
        "runs": [{"name": run.name, "letter": run.letter, "rate": run.rate, "kind": run.kind} for run in runs],
        "questions": [
            {
                "text": place.text[:SEARCHED],
                "runs": {str(run.number): _cells(run, rows, number) for run, rows in _in(runs, place)},
            }
            for place in questions
        ],
    }


def _in(runs: Sequence[Run], place: Place) -> Iterator[tuple[Run, list[int]]]:
    return ((run, place.rows[run.number]) for run in runs if run.number in place.rows)


def _cells(run: Run, rows: Sequence[int], number: Mapping[str, int]) -> dict[str, Any]:
    samples = [run.folder.samples[row] for row in rows]
    return {
        "n": [sample["problem_index"] for sample in samples],
        "v": "".join(run.states[row] for row in rows),
        "e": [number.get(run.endings[row], 0) for row in rows],
        "t": sum(map(taken_over, samples)),
    }


def write(folder: Path, runs: Sequence[Run], questions: Sequence[Place]) -> None:
    """Writes ``index.js`` and a file for each question of each run, whose samples are read one after the other.
    Files that are there with the same content stay. Raises OSError, UserError."""
    put(folder / "index.js", [("index", index(runs, questions))])
    for run in runs:
        numbers = {row: place for place, question in enumerate(questions) for row in question.rows.get(run.number, ())}
        where = {sample["problem_index"]: numbers[row] for row, sample in enumerate(run.folder.samples)}
        known: set[int] = set()
        for question, samples in groupby(_placed(folders.read(run.path), where), key=lambda pair: pair[0]):
            content = [shown(sample, run.alone) for _, sample in samples]
            path = folder / f"r{run.number}" / f"q{question}.js"
            about = {"text": questions[question].text, "reference": questions[question].reference}
            calls: list[tuple[str, Any]] = [("piece", [run.number, question, about, content])]
            put(path, calls, more=question in known)
            known.add(question)


def _placed(samples: Iterable[Record], where: Mapping[int, int]) -> Iterator[tuple[int, Record]]:
    """Each with its question; without those that are new since the folder was graded, and those still owed."""
    for sample in samples:
        if sample["problem_index"] in where:
            yield where[sample["problem_index"]], sample


def put(path: Path, calls: Iterable[tuple[str, Any]], more: bool = False) -> None:
    """Writes ``ATTS.name(value)`` for every call; ``more``: behind what is there. Raises OSError."""
    lines = "".join(f"ATTS.{name}({script_json(value)});\n" for name, value in calls).encode("ascii")
    before = path.read_bytes() if path.exists() else b""
    data = before + lines if more else lines
    if data == before:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)  # a page that is open never reads half of it


def script_json(value: Any) -> str:
    """JSON that is a literal of JavaScript, in ASCII, and holds no ``<`` and ``>``: nothing in it can end a script or
    begin markup, wherever it stands. Raises ValueError for a number that is not finite."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
