"""How many trials a search takes, on recorded runs (docs/SEARCH.md).

    python scripts/figures/searching.py --data FOLDER --seeds 200 --out results/searching

Every setting of the recordings is replayed once, question by question. For each seed half of the questions are drawn
to search on, and each searcher tries settings until its best one is within a point of the best of all. Writes
searching.json into ``--out``.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ATTS import console
from ATTS.analysis.tables import markdown
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.tuning import replay, report
from ATTS.tuning.archive import Trial
from ATTS.tuning.search import Environment, SearchSettings
from ATTS.tuning.searchers import SEARCHERS
from ATTS.tuning.space import Setting

NEAR = 0.01  # of the score
BUDGETS = (8000.0, None)  # tokens a question
MOST = 120  # trials that a search may take


class Table:
    """Replayed scores of all settings, looked up on a half of the questions."""

    def __init__(
        self, environment: Environment, values: dict[Setting, tuple[Any, Any]], questions: Sequence[int]
    ) -> None:
        self.space, self._values, self._questions = environment.space, values, list(questions)
        self._known: dict[tuple[Setting, float], Trial] = {}

    def tried(self, setting: Setting, share: float = 1.0) -> Trial:
        if (setting, share) not in self._known:
            own = self._questions[: max(1, round(share * len(self._questions)))]
            right, cost = self._values[setting]
            self._known[setting, share] = Trial(setting, share, float(right[own].mean()), float(cost[own].mean()))
        return self._known[setting, share]


async def until_near(table: Table, name: str, budget: float | None, seed: int, goal: float) -> tuple[float, bool]:
    """Trials, those on a part of the questions counted as that part, until the best has at least the value ``goal``;
    and whether it came there."""
    trials: list[Trial] = []
    while sum(trial.share for trial in trials) < MOST:
        chosen = await SEARCHERS[name](table.space, trials, budget, random.Random(f"{seed}-{len(trials)}"))
        if chosen is None:
            break
        trials.append(table.tried(*chosen))
        if trials[-1].share == 1 and trials[-1].value(budget) >= goal:
            return sum(trial.share for trial in trials), True
    return sum(trial.share for trial in trials), False


def measured(environment: Environment, seeds: int, gp_seeds: int, names: Sequence[str]) -> list[dict[str, Any]]:
    questions = sorted([*environment.searched, *environment.held_out])
    values = {}
    for setting in environment.space.settings:
        score, _ = environment.on(setting, questions)
        values[setting] = np.array(score.right), np.array(score.draft_tokens) + np.array(score.target_tokens)
    rows = []
    halves = [random.Random(f"half-{seed}").sample(range(len(questions)), len(questions) // 2) for seed in range(seeds)]
    tables = [Table(environment, values, half) for half in halves]
    everything = [[table.tried(setting) for setting in environment.space.settings] for table in tables]
    for budget in BUDGETS:
        goals = [max(trial.value(budget) for trial in trials) - NEAR for trials in everything]
        for name in names:
            found = [
                asyncio.run(until_near(table, name, budget, seed, goal))
                for seed, (table, goal) in enumerate(
                    list(zip(tables, goals, strict=True))[: gp_seeds if name == "gp" else seeds]
                )
            ]
            took = [trials for trials, _ in found]
            low, middle, high = np.percentile(took, (5, 50, 95)).tolist()
            there = sum(near for _, near in found) / len(found)
            rows.append(
                {
                    "budget": budget,
                    "searcher": name,
                    "p5": low,
                    "p50": middle,
                    "p95": high,
                    "there": there,
                    "seeds": len(found),
                }
            )
            print(f"{name}, budget {budget}: {middle:g} trials", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with traces/ and hub/")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--searchers", nargs="+", default=[*(name for name in SEARCHERS if name != "gp"), "gp"])
    parser.add_argument("--gp_seeds", type=int, default=200, help="of gp, which takes minutes of CPU for ten")
    parser.add_argument("--out", type=Path, default=Path("results/searching"))
    args = parser.parse_args()
    paths = [args.data / "traces" / f"traces_math500_{name}.jsonl.gz" for name in ("ct1", "nonct", "ct1_v1")]
    try:
        runs = [replay.read(path, "math500", None, args.data / "hub", again=True) for path in paths]
        environment = Environment(runs, make(SearchSettings, runs=tuple(paths)))
        rows = measured(environment, args.seeds, args.gp_seeds, args.searchers)
        everything = [environment.tried(setting) for setting in environment.space.settings]
        best = environment.reported(report.front(everything))
    except UserError as problem:
        sys.exit(console.fail(problem))
    cells = [
        (
            "none" if row["budget"] is None else f"{row['budget']:,.0f}",
            row["searcher"],
            f"{row['p50']:.0f}",
            f"{row['p5']:.0f} - {row['p95']:.0f}",
            f"{100 * row['there']:.0f} %",
            row["seeds"],
        )
        for row in rows
    ]
    print(f"{len(environment.space.settings)} settings\n")
    print(markdown(("budget, tokens", "searcher", "trials, median", "5 % - 95 %", "came there", "seeds"), cells))
    print(f"\nthe front:\n\n{report.table(best, 'tokens', None)}")
    args.out.mkdir(parents=True, exist_ok=True)
    told = {"seeds": args.seeds, "settings": len(environment.space.settings), "near": NEAR, "rows": rows}
    (args.out / "searching.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
