"""Marginal beside per-turn calibration on live runs: bash scripts/measure_rate_live.sh (starts the servers).

python scripts/figures/rate_live.py --marginal results/rate_live/marginal --per_turn results/rate_live/per_turn

Exits with 1 if a turn's rate misses the asked one by more than 0.04, or has fewer than 400 decisions.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ATTS import console
from ATTS.analysis import audit_rate
from ATTS.analysis.tables import percent
from ATTS.errors import UserError
from ATTS.store import atomic
from ATTS.store.result_folder import read_summary

TURNS, FEWEST, WITHIN = 4, 400, 0.04


def figures(folder: Path) -> dict[str, Any]:
    """Rates with intervals, accuracy, and tokens of both models a sample. Raises UserError."""
    found, about, repeats = audit_rate.read(folder, None)
    made = audit_rate.decisions(found, repeats)
    rates = audit_rate.report(audit_rate.recorded_kind(about), about["settings"]["rejection_rate"], made, made.rejected)
    summary = read_summary(folder)
    tokens = {who: count / summary["samples"] for who, count in summary["written_tokens"].items()}
    kept = ("mean_accuracy", "low", "high", "samples", "takeover_rate", "target_share")
    return {"rates": rates, "tokens a sample": tokens, **{name: summary[name] for name in kept}}


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
        "accuracy (95 %)",
        [f"{percent(r['mean_accuracy'])} ({percent(r['low'])} - {percent(r['high'])})" for r in runs.values()],
    )
    line("target's tokens a sample", [f"{run['tokens a sample']['target']:.1f}" for run in runs.values()])
    line("draft's tokens a sample", [f"{run['tokens a sample']['draft']:.1f}" for run in runs.values()])
    line("target's share of the tokens", [percent(run["target_share"]) for run in runs.values()])
    return "\n".join(lines)


def missed(rates: dict[str, Any]) -> list[str]:
    by_turn = {row["turn"]: row for row in rates["by_turn"]}
    found = []
    for turn in range(TURNS):
        row = by_turn.get(turn, {"n": 0, "rate": float("nan")})
        if row["n"] < FEWEST:
            found.append(f"turn {turn}: {row['n']} decisions, {FEWEST} are needed")
        elif abs(row["rate"] - rates["nominal"]) > WITHIN:
            found.append(f"turn {turn}: {row['rate']:.3f} rejected, asked {rates['nominal']:.3f} +- {WITHIN}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marginal", type=Path, required=True)
    parser.add_argument("--per_turn", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    args = parser.parse_args()
    try:
        runs = {"marginal": figures(args.marginal), "per turn": figures(args.per_turn)}
    except UserError as problem:
        sys.exit(console.fail(problem))
    print(table(runs))
    if args.out:
        atomic.write(args.out, json.dumps(runs, indent=1).encode() + b"\n")
    for line in missed(runs["per turn"]["rates"]):
        print(f"not reached: {line}", file=sys.stderr)
    sys.exit(1 if missed(runs["per turn"]["rates"]) else 0)


if __name__ == "__main__":
    main()
