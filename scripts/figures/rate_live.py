r"""Marginal beside per-turn calibration on live runs: bash scripts/measure_rate_live.sh (starts the servers).

python scripts/figures/rate_live.py --marginal results/rate_live/marginal --per_turn results/rate_live/per_turn \
    --array results/rate_live/by_turn.npy

Exits with 1 if a turn's rate is not what its calibration scores let expect: more than 2.5 standard deviations off, as
one turn in 80 is by chance, or if a turn has fewer than 400 decisions.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from ATTS import console
from ATTS.analysis import audit_rate, expected_rates, rates, run_decisions
from ATTS.analysis.tables import percent
from ATTS.errors import UserError
from ATTS.store import atomic, calibration
from ATTS.store.calibration import CalibrationArray
from ATTS.store.result_folder import read_summary

TURNS, FEWEST, MOST = 4, 400, 2.5  # turns, decisions, standard deviations


def figures(folder: Path) -> dict[str, Any]:
    """Rates with intervals, accuracy, and tokens of both models a sample. Raises UserError."""
    found, about, repeats = run_decisions.read(folder, None)
    made = run_decisions.decisions(found, repeats)
    kind, asked = audit_rate.recorded_kind(about), about["settings"]["rejection_rate"]
    audit = rates.report(kind, asked, made, made.rejected)
    summary = read_summary(folder)
    tokens = {who: count / summary["samples"] for who, count in (summary["written_tokens"] or {}).items()}
    kept = ("mean_accuracy", "low", "high", "samples", "takeover_rate", "target_share")
    return {"rates": audit, "tokens a sample": tokens, **{k: v for k, v in summary.items() if k in kept}}


def table(runs: dict[str, dict[str, Any]]) -> str:
    lines = [f"| | {' | '.join(runs)} |", f"|---|{'---|' * len(runs)}"]

    def line(name: str, cells: list[str]) -> None:
        lines.append(f"| {name} | {' | '.join(cells)} |")

    for turn in range(TURNS):
        rows = [next((r for r in run["rates"]["by_turn"] if r["turn"] == turn), None) for run in runs.values()]
        line(
            f"rejected at turn {turn} (95 %; decisions)",
            [f"{r['rate']:.3f} ({r['low']:.3f} - {r['high']:.3f}; {r['n']})" if r else "-" for r in rows],
        )
    overall = [run["rates"] for run in runs.values()]
    line("rejected, all turns", [f"{r['rate']:.3f} ({r['low']:.3f} - {r['high']:.3f}; {r['n']})" for r in overall])
    line(
        "accuracy of a sample (95 %)",
        [f"{percent(r['mean_accuracy'])} ({percent(r['low'])} - {percent(r['high'])})" for r in runs.values()],
    )
    line("target's tokens a sample", [f"{run['tokens a sample']['target']:.1f}" for run in runs.values()])
    line("draft's tokens a sample", [f"{run['tokens a sample']['draft']:.1f}" for run in runs.values()])
    line("target's share of the tokens", [percent(run["target_share"]) for run in runs.values()])
    return "\n".join(lines)


def misses(rates: dict[str, Any], array: CalibrationArray) -> list[float]:
    """By how many standard deviations each turn's rate misses the one that its calibration scores let expect: of
    those scores and of the run's decisions, as :mod:`ATTS.analysis.expected_rates` has them; NaN without either."""
    found = []
    for turn in range(TURNS):
        row = next((row for row in rates["by_turn"] if row["turn"] == turn), None)
        scores = array.by_turn.get(turn)
        if row is None or scores is None:
            found.append(math.nan)
            continue
        expected = expected_rates.others(
            scores, array.questions_by_turn[turn], rates["nominal"], "published", questions=row["n"]
        )
        found.append((row["rate"] - expected.mean) / math.sqrt(expected.variance))
    return found


def missed(rates: dict[str, Any], array: CalibrationArray) -> list[str]:
    """What the gate refuses, a line each."""
    counts = {row["turn"]: row["n"] for row in rates["by_turn"]}
    found = []
    for turn, off in enumerate(misses(rates, array)):
        if counts.get(turn, 0) < FEWEST:
            found.append(f"turn {turn}: {counts.get(turn, 0)} decisions, {FEWEST} are needed")
        elif not abs(off) <= MOST:
            found.append(f"turn {turn}: the rate is {off:+.1f} standard deviations off, at most {MOST} is chance")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marginal", type=Path, required=True)
    parser.add_argument("--per_turn", type=Path, required=True)
    parser.add_argument("--array", type=Path, required=True, help="by turn, of the second run")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    args = parser.parse_args()
    try:
        runs = {"marginal": figures(args.marginal), "per turn": figures(args.per_turn)}
        array = calibration.load(args.array, False)
    except UserError as problem:
        sys.exit(console.fail(problem))
    rates = runs["per turn"]["rates"]
    rates["standard deviations off, by turn"] = misses(rates, array)
    print(table(runs))
    print("per turn, standard deviations off: " + ", ".join(f"{off:+.1f}" for off in misses(rates, array)))
    if args.out:
        atomic.write(args.out, json.dumps(runs, indent=1).encode() + b"\n")
    for line in missed(rates, array):
        print(f"not reached: {line}", file=sys.stderr)
    sys.exit(1 if missed(rates, array) else 0)


if __name__ == "__main__":
    main()
