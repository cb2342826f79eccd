"""Measure what the prediction set covers on the demo pair, where wrong steps are known (docs/GUARANTEES.md).

python scripts/demo_pair/kept_chunks.py results/frontier_demo/resample_mean_per_turn_0.2 ...

Of the chunks that the target scored in each run: how many were kept, of all, of the right and of the wrong ones, with
95 % intervals over questions. A rate promises the first; a coin in the place of the score keeps as many of each.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import solutions

from ATTS import console
from ATTS.analysis.intervals import interval
from ATTS.analysis.tables import markdown
from ATTS.errors import UserError
from ATTS.store.records import Record
from ATTS.store.result_folder import samples

SCORED = "eval_ppl"


class Chunk(NamedTuple):
    """One scored chunk of the draft. ``wrong``: it holds a wrong step."""

    question: int
    turn: int
    wrong: bool
    kept: bool


def chunks(sample: Record) -> Iterator[Chunk]:
    """Every scored chunk of a sample, judged by the text that was there when it was written."""
    problem = solutions.parse(sample["question"])
    before = text = kept = ""  # without and with the newest chunk, and what stays
    for entry in sample["full_history"]:
        if entry["model"] == SCORED:
            spans = solutions.wrong_spans(problem, text)
            wrong = any(len(before) < end and start < len(text) for start, end in spans)
            yield Chunk(sample["question_index"], entry["turn"], wrong, not entry["rejected"])
        elif "discarded" in entry:
            before, text = kept, kept + entry["discarded"]
        else:
            before, text = kept, kept + (entry.get("output") or "")
            kept = text


def shares(found: list[Chunk]) -> dict[str, Any]:
    """Kept: of all chunks, of the right and of the wrong ones."""
    told: dict[str, Any] = {"chunks": len(found), "wrong": float(np.mean([chunk.wrong for chunk in found]))}
    for name, part in (
        ("kept", found),
        ("right kept", [chunk for chunk in found if not chunk.wrong]),
        ("wrong kept", [chunk for chunk in found if chunk.wrong]),
    ):
        made = interval([chunk.kept for chunk in part], [chunk.question for chunk in part])
        told[name] = {"share": made.rate, "low": made.low, "high": made.high, "chunks": made.n}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="result folders of the demo pair")
    args = parser.parse_args()
    told = {}
    try:
        for path in args.runs:
            found = [chunk for sample in samples(path) for chunk in chunks(sample)]
            if not found:
                raise UserError(f"{path} holds no scored chunks")
            told[path.name] = shares(found)
    except UserError as problem:
        sys.exit(console.fail(problem))
    names = ("kept", "right kept", "wrong kept")
    rows = [
        [run, row["chunks"], f"{row['wrong']:.3f}"]
        + ["{share:.3f} ({low:.3f} - {high:.3f})".format(**row[name]) for name in names]
        for run, row in told.items()
    ]
    print(markdown(["run", "scored chunks", "wrong", *(f"{name} (95 %)" for name in names)], rows))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
