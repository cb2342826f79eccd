"""What a comparison of methods amounts to: a table, JSON, and a picture."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ATTS.analysis import compare, pictures
from ATTS.analysis.by_role import grades, kinds, tokens
from ATTS.analysis.intervals import of_questions
from ATTS.analysis.tables import difference, markdown, percent, within
from ATTS.console import printable
from ATTS.method.types import Stage
from ATTS.store import atomic
from ATTS.store.blocks import CALIBRATION, BlockEntry
from ATTS.store.records import Record
from ATTS.store.result_folder import SUMMARY, samples

COLUMNS = (
    *("method", "accuracy of a sample (95 %)", "difference (95 %)", "any of k (95 %)", "majority of k (95 %)"),
    *("wall s", "samples/s", "tokens/s"),
    *("s a sample p50", "p95", "draft tokens", "target tokens", "discarded", "graded or scored", "handed over"),
    *("most in flight",),
)


def write(folder: Path, blocks: Sequence[BlockEntry], order: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Writes comparison.md, comparison.json and comparison.png; returns the table. Differences are to the first
    of the methods, question by question."""
    methods = [name for name in order if any(block["method"] == name for block in blocks)]
    rows = [row(name, folder / name, [block for block in blocks if block["method"] == name]) for name in methods]
    for one, beside in zip(rows, compare.rows([folder / name for name in methods], None, None, None), strict=True):
        against = beside["against_first"]
        one["difference"] = against["accuracy"] if against else None
    calibration = {
        block["method"].removeprefix(CALIBRATION): block["wall_seconds"]
        for block in blocks
        if block["method"].startswith(CALIBRATION)
    }
    report = {
        "settings": {name: str(v) if isinstance(v, Path) else v for name, v in settings.items()},
        "calibration_seconds": calibration,
        "methods": rows,
    }
    atomic.write(folder / "comparison.json", json.dumps(report, indent=1).encode() + b"\n")
    text = table(rows)
    atomic.write(folder / "comparison.md", text.encode() + b"\n")
    picture(rows, folder / "comparison.png")
    return text


def row(name: str, folder: Path, blocks: Sequence[BlockEntry]) -> dict[str, Any]:
    """One method. Its clock is the sum of its blocks; None where one was interrupted, so that it saw only the rest."""
    records = list(samples(folder))
    summary = json.loads((folder / SUMMARY).read_text())
    questions = summary["per_question"]
    k = max(question["samples"] for question in questions)
    passed = _with_interval([question["right"] > 0 for question in questions])
    majority = _with_interval([question["majority"] for question in questions])
    timed = sum(block["samples"] for block in blocks) == len(records)
    seconds = sum(block["wall_seconds"] for block in blocks) if timed else None
    written = tokens(records)
    turns = [taken for sample in records for taken in handed_over(sample)]
    return {
        "method": name,
        "samples": len(records),
        "questions": len(questions),
        "k": k,
        "accuracy": {name: summary[key] for name, key in (("mean", "mean_accuracy"), ("low", "low"), ("high", "high"))},
        "pass_at_k": passed,
        "majority_at_k": majority,
        "wall_seconds": seconds,
        "samples_per_second": len(records) / seconds if seconds else None,
        "tokens_per_second": sum(written["kept"].values()) / seconds if seconds else None,
        "latency_seconds": {
            f"p{q}": float(np.quantile([sample["duration_seconds"] for sample in records], q / 100)) for q in (50, 95)
        },
        "tokens": written,
        "requests": _by_stage(records, "requests"),
        "seconds_by_role": _by_stage(records, "serve_seconds"),  # at the servers
        "takeover_rate": sum(turns) / len(turns) if turns else None,
        "most_in_flight": most_in_flight(records),
        "by_status": summary["by_status"],
        "grades": grades(records),
        "takeovers_by_kind": kinds(records),
    }


def _with_interval(values: Sequence[float]) -> dict[str, float | None]:
    interval = of_questions(values)
    return {"mean": interval.rate, "low": interval.low, "high": interval.high}


def _by_stage(samples: Sequence[Record], what: Literal["requests", "serve_seconds"]) -> dict[str, float]:
    total: dict[str, float] = {}
    for sample in samples:
        for stage, used in sample["usage"].items():
            total[stage] = total.get(stage, 0) + used[what]
    return total


def handed_over(sample: Record) -> list[bool]:
    """For every turn (of Speculative Thinking: paragraph; of SpecReason: step) whether the target wrote in it."""
    kept = [(entry["turn"], Stage(entry["model"])) for entry in sample["full_history"]]
    written = {turn for turn, stage in kept if stage.author and not stage.discarded}
    return [(turn, Stage.CONTINUE) in kept for turn in written]


def most_in_flight(samples: Sequence[Record]) -> int:
    """Most samples under way at once."""
    changes = [(s["started_at"], 1) for s in samples]
    changes += [(s["started_at"] + s["duration_seconds"], -1) for s in samples]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    return markdown(COLUMNS, map(_cells, rows))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    kept, lost, requests = row["tokens"]["kept"], row["tokens"]["discarded"], row["requests"]
    alone = row["method"] in ("draft", "target", "speculative_decoding")
    author = "draft" if row["method"] == "draft" else "target"
    if alone:  # the model of a run alone stands in the draft's place in its records
        kept = {"draft": 0, "target": 0} | {author: kept["draft"]}
    return (
        row["method"],
        _within(row["accuracy"]),
        difference(row["difference"]),
        *(_within(row[name]) for name in ("pass_at_k", "majority_at_k")),
        *(
            "-" if row[name] is None else format(row[name], form)
            for name, form in (("wall_seconds", ".1f"), ("samples_per_second", ".3g"), ("tokens_per_second", ",.0f"))
        ),
        *(f"{row['latency_seconds'][name]:.2f}" for name in ("p50", "p95")),
        *(f"{kept[name]:,}" for name in ("draft", "target")),
        f"{sum(lost.values()):,}",
        f"{requests.get('grade', 0) + requests.get('score', 0):,}",
        "-" if alone else percent(row["takeover_rate"]),
        str(row["most_in_flight"]),
    )


def _within(mean: Mapping[str, float | None]) -> str:
    return within(mean["mean"], (mean["low"], mean["high"]))


def target_tokens(row: Mapping[str, Any]) -> int:
    """All that the target wrote, kept or not."""
    kept, lost = row["tokens"]["kept"], row["tokens"]["discarded"]
    if row["method"] in ("target", "speculative_decoding"):
        return int(kept["draft"])
    return int(kept["target"] + lost["target"])


def picture(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy against wall time and against the target's tokens, intervals included."""
    seconds = [row["wall_seconds"] for row in rows]
    of_target = [float(target_tokens(row)) for row in rows]
    labels = ("wall seconds", "tokens that the target wrote")
    with pictures.drawn(path, 11, 4.5, columns=2, sharey=True) as (figure, panels):
        for axes, label, places in zip(panels, labels, (seconds, of_target), strict=True):
            for number, (row, place) in enumerate(zip(rows, places, strict=True)):
                x = math.nan if place is None else place  # in the legend only
                mean, low, high = (100 * (row["accuracy"][name] or 0) for name in ("mean", "low", "high"))
                errors = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
                look = pictures.style(number) | {"linestyle": "none", "markersize": 6}
                axes.errorbar([x], [mean], yerr=errors, capsize=3, label=printable(row["method"]), **look)
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
        panels[0].set_ylabel("accuracy a sample, % (95 %)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
