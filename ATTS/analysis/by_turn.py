"""When more turns stop paying: accuracy, tokens and time by the turn at which samples stopped."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ATTS.analysis import folders, intervals, pictures
from ATTS.analysis.accuracy import Graded
from ATTS.analysis.chains import chain
from ATTS.analysis.folders import Truth
from ATTS.analysis.grading import answered, by_math
from ATTS.analysis.tables import markdown, percent, within
from ATTS.console import printable
from ATTS.errors import ExitStatus
from ATTS.flags import Part
from ATTS.method.types import Stage
from ATTS.store import result_folder
from ATTS.store.records import Record
from ATTS.store.summary import TurnRow
from ATTS.tasks.answers import INVALID, find_answer

AUTHORS = {stage.value: stage.author for stage in Stage}


def of_run(
    path: Path, dataset_name: str | None, repeats: int | None, data_dir: Path | None, again: bool
) -> list[TurnRow]:
    """Of a finished run's summary; where that says nothing by turn or another grading is wanted, and of published
    folders and recordings, from the samples. ``again``: with answers read anew. Raises UserError."""
    if (path / result_folder.SETTINGS).is_file():
        rows = result_folder.read_summary(path).get("by_turn")
        if rows and not dataset_name and not again:
            return list(rows)
    folder = folders.load(path, dataset_name, repeats, data_dir)
    pairs = zip(folder.samples, folder.references, strict=True)
    kept = [(sample, ref) for sample, ref in pairs if sample.get("exit_status") != ExitStatus.STOPPED]
    samples, references = [sample for sample, _ in kept], [ref for _, ref in kept]
    if again:
        samples = [{**s, "final_answer": find_answer(chain(s, folder.by_compat), True) or INVALID} for s in samples]
    return by_turn(samples, by_math(samples, references, folder.repeats))


def by_turn(samples: Sequence[Record], graded: Sequence[Graded]) -> list[TurnRow]:
    """One row for each number of turns. Means are what all samples would have reached with that many, those still
    under way being wrong; published samples tell neither tokens nor seconds."""
    right, questions = [one.right for one in graded], [one.question for one in graded]
    entries = [entry for sample in samples for entry in sample["full_history"]]
    tell = all("seconds" in entry for entry in entries)
    last = [max((entry["turn"] for entry in sample["full_history"]), default=0) for sample in samples]
    tokens: dict[str, float] = {"draft": 0, "target": 0}
    seconds = 0.0
    rows: list[TurnRow] = []
    for turn in range(max(last, default=-1) + 1):
        stopped = [number for number, final in enumerate(last) if final == turn]
        by_then = [one and final <= turn for one, final in zip(right, last, strict=True)]
        accuracy = intervals.interval(by_then, questions)
        for entry in (entry for entry in entries if entry["turn"] == turn and tell):
            seconds += entry["seconds"]
            if author := AUTHORS.get(entry["model"]):
                tokens[author] += entry.get("tokens", 0)
        rows.append(
            {
                "turns": turn + 1,
                "stopped": len(stopped),
                "answered": sum(answered(samples[number]) for number in stopped),
                "right": sum(right[number] for number in stopped),
                "accuracy": sum(by_then) / len(samples),
                "low": accuracy.low,
                "high": accuracy.high,
                "tokens": {who: count / len(samples) for who, count in tokens.items()} if tell else None,
                "seconds": seconds / len(samples) if tell else None,
            }
        )
    return rows


def table(rows: Sequence[TurnRow]) -> str:
    """Markdown."""
    accuracy = "accuracy with --turns N (95 %)"
    columns = ("turns", "stopped", "of them right", accuracy, "tokens: draft", "target", "seconds")
    lines = []
    for row in rows:
        share = percent(row["right"] / row["stopped"] if row["stopped"] else None)
        tokens = [f"{row['tokens'][who]:.1f}" for who in ("draft", "target")] if row["tokens"] else ["-", "-"]
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.2f}"
        lines.append((row["turns"], row["stopped"], share, within(row["accuracy"], bounds(row)), *tokens, seconds))
    return markdown(columns, lines)


def bounds(row: TurnRow) -> tuple[float, float] | None:
    """The interval of its accuracy, where the summary tells it."""
    return (row["low"], row["high"]) if "low" in row else None


def picture(runs: Mapping[str, Sequence[TurnRow]], path: Path) -> None:
    """Accuracy against turns and against tokens, and how many samples stop when; one line a run."""
    with pictures.drawn(path, 13, 4, columns=3) as (figure, (left, middle, right)):
        for number, (name, rows) in enumerate(runs.items()):
            look = pictures.style(number)
            turns, accuracy = [row["turns"] for row in rows], [100 * row["accuracy"] for row in rows]
            left.plot(turns, accuracy, label=printable(name), **look)
            pictures.band(left, turns, map(bounds, rows), number)
            tokens = [sum(row["tokens"].values()) for row in rows if row["tokens"]]
            if len(tokens) == len(rows):
                middle.plot(tokens, accuracy, **look)
                pictures.band(middle, tokens, map(bounds, rows), number)
            stopped = Counter({row["turns"]: row["stopped"] for row in rows})
            right.plot(turns, [100 * stopped[turn] / stopped.total() for turn in turns], **look)
        left.set(xlabel="--turns", ylabel="accuracy, %")
        middle.set(xlabel="tokens a sample, both models", ylabel="accuracy, %")
        right.set(xlabel="turns", ylabel="samples that stop then, %")
        pictures.legend(figure)


class ByTurnSettings(Part):
    """Flags of by_turn."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders, of this project or published ones, and recordings (.jsonl, .jsonl.gz)."""

    picture: Path | None = None
    """Draw it into this file (.png, .pdf, .svg)."""

    json: bool = False
    """Print JSON."""

    truth: Truth = Truth()

    read_again: bool = False
    """Read the answers again, nested braces whole, instead of taking those that the run read; the turns at which
    samples stopped stay."""


async def show(settings: ByTurnSettings) -> str:
    """The tables by turn as text or JSON; writes the picture if asked. Raises UserError."""
    rows_by_run = {path.name: of_run(path, *settings.truth.given, settings.read_again) for path in settings.runs}
    if settings.picture:
        picture(rows_by_run, settings.picture)
    if settings.json:
        return json.dumps(rows_by_run, indent=1)
    return "\n\n".join(f"{name}\n\n{table(rows)}" for name, rows in rows_by_run.items())
