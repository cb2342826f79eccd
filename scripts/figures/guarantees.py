"""Measure what docs/GUARANTEES.md promises: DATA=FOLDER bash scripts/measure_guarantees.sh

python scripts/figures/guarantees.py --data FOLDER --out results/guarantees

Prints tables; writes guarantees.json and pictures into ``--out``; exits with 1 if a promise is not kept.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import guarantees_arrival
import guarantees_recorded
import guarantees_served
import guarantees_simulated
import numpy as np
from numpy.typing import NDArray

from ATTS import console
from ATTS.analysis import audit_rate, run_decisions
from ATTS.analysis.audit_rate import Rule
from ATTS.analysis.run_decisions import Decisions
from ATTS.errors import UserError
from ATTS.store import calibration
from ATTS.store.recording import read_recording
from ATTS.store.records import Record

PAIR = "s1.1_32B_s1.1_7B_s16_t500_temp0.8"  # the pair with arrays for every data set of a mixture
REPEATS = 16


def recordings(data: Path) -> dict[str, Decisions]:
    """The decisions of every recorded run in ``data``/traces, by its short name."""
    return {name: run_decisions.decisions(found, REPEATS) for name, found in recorded_samples(data).items()}


def recorded_samples(data: Path) -> dict[str, list[Record]]:
    """Every recorded run in ``data``/traces, by its short name."""
    return {name: run_decisions.read(path, REPEATS)[0] for name, path in paths(data).items()}


def paths(data: Path) -> dict[str, Path]:
    """The file of every recorded run in ``data``/traces, by its short name."""
    found = sorted((data / "traces").glob("traces_*.jsonl*"))
    if not found:
        raise UserError(f"no recorded runs in {data / 'traces'}: name the folder that holds traces/ with --data")
    return {path.name.removeprefix("traces_").split(".")[0]: path for path in found}


def mixtures(data: Path, runs: Mapping[str, Decisions]) -> dict[str, dict[str, list[NDArray[np.float64]]]]:
    """Each recorded run's first chunks beside the AIME and AMC arrays, and the same mixture of arrays alone."""

    def array(name: str) -> list[NDArray[np.float64]]:
        paths = sorted((data / "calibration").glob(f"ppls_{name}_{PAIR}__*.npy"))
        if not paths:
            raise UserError(f"no array ppls_{name}_{PAIR}__*.npy in {data / 'calibration'}")
        return list(calibration.load(paths[0], False).scores.reshape(-1, REPEATS))

    def first_chunks(made: Decisions) -> list[NDArray[np.float64]]:
        first = made.turn == 0
        return [made.score[first & (made.question == question)] for question in np.unique(made.question[first])]

    others = {name: array(name) for name in ("aime24", "aime25", "amc")}
    mixed = {name: {"math500": first_chunks(made), **others} for name, made in runs.items()}
    return {**mixed, "arrays of one pair": {"math500": array("math500"), **others}}


def measure(data: Path | None, runs: int, splits: int, shuffles: int) -> dict[str, Any]:
    figures: dict[str, Any] = guarantees_simulated.all_figures(
        runs, (16, 64, 256, 1600), (30, 70, 100), max(1, runs // 5)
    )
    if data is None:
        return figures
    told = recorded_samples(data)
    found = {name: run_decisions.decisions(samples, REPEATS) for name, samples in told.items()}
    figures |= {
        "per_turn": {name: guarantees_recorded.per_turn(made, splits) for name, made in found.items()},
        "adaptive": [
            {"recording": name, **guarantees_recorded.adaptive(made, shuffles)} for name, made in found.items()
        ],
        "online": [{"recording": name, **guarantees_recorded.online(made, shuffles)} for name, made in found.items()],
        "as served": {
            name: [
                row
                for in_flight in (20, 0, 400, len(told[name]))
                for row in guarantees_served.rates(read_recording(path), in_flight, max(1, shuffles // 10))
            ]
            for name, path in paths(data).items()
        },
        "budget": [
            {"recording": name, **guarantees_arrival.budgets(samples, shuffles)} for name, samples in told.items()
        ],
        "grouped": {
            name: guarantees_recorded.grouped(groups, splits) for name, groups in mixtures(data, found).items()
        },
    }
    return figures


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def tables(figures: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """All rows by title."""
    flat: dict[str, list[dict[str, Any]]] = {}
    for name, rows in figures.items():
        flat |= {f"{name}, {part}": more for part, more in rows.items()} if isinstance(rows, dict) else {name: rows}
    return flat


def pictures(figures: Mapping[str, Any], found: Mapping[str, Decisions], out: Path) -> None:
    """Rates by turn, and the running rate of the last 400 decisions in recorded order."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4), constrained_layout=True)
    for name, rows in figures["per_turn"].items():
        turns = [row["turn"] for row in rows]
        (line,) = axes[0].plot(turns, [row["recorded"] for row in rows], "--", label=f"{name}, recorded")
        axes[0].plot(turns, [row["per turn"] for row in rows], color=line.get_color(), label=f"{name}, per turn")
    made = next(iter(found.values()))
    ordered = made.take(guarantees_recorded.one_after_another(made))
    window = np.ones(guarantees_recorded.WINDOW) / guarantees_recorded.WINDOW
    decided = {"recorded": ordered.rejected}
    decided |= {
        "online": audit_rate.again(Rule("online"), ordered),
        "adaptive": audit_rate.again(Rule("adaptive"), ordered),
    }
    for kind, rejected in decided.items():
        axes[1].plot(np.convolve(rejected, window, "valid"), label=kind)
    for axis, label in zip(axes, ("turn", f"decision, {next(iter(found))} in recorded order"), strict=True):
        axis.axhline(guarantees_recorded.RATE, color="black", linewidth=0.8)
        axis.set(xlabel=label, ylim=(0, 1) if axis is axes[1] else (0.2, 0.6))
        axis.legend(fontsize=8)
    axes[0].set_ylabel("rejected")
    axes[1].set_ylabel(f"rejected, of the last {guarantees_recorded.WINDOW}")
    figure.savefig(out / "rates.png", dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with traces/ and calibration/; without it, simulations only")
    parser.add_argument("--out", type=Path, default=Path("results/guarantees"))
    parser.add_argument("--runs", type=int, default=10_000, help="simulated runs; a fifth of them for clustered scores")
    parser.add_argument("--splits", type=int, default=200, help="half splits by question")
    parser.add_argument("--shuffles", type=int, default=50, help="orders of the questions")
    args = parser.parse_args()
    try:
        figures = measure(args.data, args.runs, args.splits, args.shuffles)
        args.out.mkdir(parents=True, exist_ok=True)
        if args.data:
            pictures(figures, recordings(args.data), args.out)
    except UserError as problem:
        sys.exit(console.fail(problem))
    (args.out / "guarantees.json").write_text(json.dumps(figures, indent=1) + "\n")
    missed = []
    for title, rows in tables(figures).items():
        print(f"\n{title}\n\n{table(rows)}")
        missed += [f"{title}: {row}" for row in rows if not row["reached"]]
    for line in missed:
        print(f"not reached: {line}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
