"""Measure what a certificate promises, on simulated worlds whose losses are known (docs/GUARANTEES.md).

python scripts/figures/certify.py --worlds 2000 --out results/certify

In a world, five settings from the most to the least expensive answer the target's questions. Prints how often each way
to choose the cheapest one chooses one whose true loss is above the limit, and how often it finds any; writes
certify.json into ``--out``; exits with 1 if a certificate is wrong more often than it says, or the naive choice is not.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis.tables import markdown
from ATTS.tradeoff.betting import p_values, passed

Losses = NDArray[np.float64]  # (worlds, settings, questions)
Kind = Callable[[np.random.Generator, int, Sequence[float], int], Losses]
CONFIDENCE, REPEATS = 0.9, 4
COSTS = (0.6, 0.4, 0.25, 0.15, 0.08)  # share of the target's tokens
SIZES = ((30, 0.1), (60, 0.05), (100, 0.05), (300, 0.02))  # questions and the loss to certify
JUST_ABOVE = 1.001
TRUE = {  # true losses as multiples of the limit
    "all just above": (JUST_ABOVE,) * 5,
    "up and down": (0.5, JUST_ABOVE, 0.25, 2.0, JUST_ABOVE),
    "down and up": (JUST_ABOVE, 0.0, JUST_ABOVE, 0.5, JUST_ABOVE),
    "rising": (0.0, 0.25, 0.5, JUST_ABOVE, 3.0),
}
FINDS = (0.0, 0.0, 0.1, 0.25, 3.0)  # the true losses where it is counted what is found


def rare(rng: np.random.Generator, worlds: int, true: Sequence[float], questions: int) -> Losses:
    """A setting loses a question wholly, which the target has wholly right, or nothing; a hard question is hard for all
    settings."""
    hard = rng.random((worlds, 1, questions))
    return np.asarray(hard < np.array(true)[None, :, None], dtype=np.float64)


def noisy(rng: np.random.Generator, worlds: int, true: Sequence[float], questions: int, right: float = 2.0) -> Losses:
    """The target's chance of a right sample differs by question (Beta with ``right`` and 1); a setting's is less by the
    same part everywhere."""
    chance = rng.beta(right, 1, (worlds, 1, questions))
    part = np.array(true)[None, :, None] * (right + 1) / right
    target = rng.binomial(REPEATS, chance)
    return np.asarray((target - rng.binomial(REPEATS, chance * (1 - part))) / REPEATS)


def both_ways(rng: np.random.Generator, worlds: int, true: Sequence[float], questions: int) -> Losses:
    """A setting gains some questions, by half, and loses others; otherwise both are right."""
    size = (worlds, len(true), questions)
    limits = np.array(true)[None, :, None]
    gained = rng.random((worlds, 1, questions)) < 0.1
    lost = rng.random(size) < (limits + 0.05) / 0.9
    return np.asarray(np.where(gained, -0.5, np.where(lost, 1.0, 0.0)))


KINDS: dict[str, Kind] = {"rare": rare, "noisy": noisy, "both ways": both_ways}


def fixed_sequence(losses: Losses, limit: float) -> list[list[int]]:
    """The settings that each world's certificate passes, by one chain from the most expensive on."""
    level = 1 - CONFIDENCE
    return [list(range(passed([row], level)[0])) for row in p_values(losses, limit, level).tolist()]


def bonferroni(losses: Losses, limit: float) -> list[list[int]]:
    level = 1 - CONFIDENCE
    found = p_values(losses, limit, level / losses.shape[1]).tolist()
    return [[i for i, one in enumerate(passed([[p] for p in row], level)) if one] for row in found]


def naive(losses: Losses, limit: float) -> list[list[int]]:
    """Whatever was seen to lose no more."""
    return [np.flatnonzero(row <= limit).tolist() for row in losses.mean(-1)]


def student(losses: Losses, limit: float) -> list[list[int]]:
    """The same chain with Student's one-sided interval."""
    from scipy import stats

    n = losses.shape[-1]
    bound = losses.mean(-1) + stats.t.ppf(CONFIDENCE, n - 1) * losses.std(-1, ddof=1) / math.sqrt(n)
    return [list(range(passed([[float(not one) for one in row]], 0.5)[0])) for row in bound <= limit]


RULES = {"fixed sequence": fixed_sequence, "Bonferroni": bonferroni, "Student": student, "naive": naive}


def validity(worlds: int, seed: int = 0) -> list[dict[str, Any]]:
    """Share of the worlds in which the cheapest setting that passes loses more than the limit, by rule."""
    rows = []
    for number, (questions, limit) in enumerate(SIZES):
        for kind, draw in KINDS.items():
            for shape, multiples in TRUE.items():
                true = [limit * multiple for multiple in multiples]
                losses = draw(np.random.default_rng([seed, number]), worlds, true, questions)
                wrong = {
                    name: sum(bool(chosen) and true[chosen[-1]] > limit for chosen in rule(losses, limit)) / worlds
                    for name, rule in RULES.items()
                }
                rows.append({"questions": questions, "max_loss": limit, "losses": kind, "true": shape, **wrong})
    return rows


def power(worlds: int, seed: int = 1) -> list[dict[str, Any]]:
    """Share of the worlds in which any setting passes, and the cost of the cheapest (1 where none does)."""
    rows = []
    for right in (49.0, 9.0):
        for questions in (30, 60, 100, 300):
            for limit in (0.02, 0.05, 0.1):
                true = [limit * multiple for multiple in FINDS]
                losses = noisy(np.random.default_rng(seed), worlds, true, questions, right)
                row: dict[str, Any] = {"target": right / (right + 1), "questions": questions, "max_loss": limit}
                for name in ("fixed sequence", "Bonferroni"):
                    found = RULES[name](losses, limit)
                    row[name] = sum(map(bool, found)) / worlds
                    row[f"{name}, cost"] = float(np.mean([COSTS[chosen[-1]] if chosen else 1.0 for chosen in found]))
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("results/certify"))
    args = parser.parse_args()
    found, finds = validity(args.worlds), power(args.worlds)
    worst = {name: max(row[name] for row in found) for name in RULES}
    for rows in (found, finds):
        print(markdown(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows]) + "\n")
    print("most often wrong:", ", ".join(f"{name} {share:.3f}" for name, share in worst.items()))
    args.out.mkdir(parents=True, exist_ok=True)
    told = {"worlds": args.worlds, "confidence": CONFIDENCE, "validity": found, "power": finds, "worst": worst}
    (args.out / "certify.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.exit("\n".join(not_kept(worst)) or 0)


def not_kept(worst: dict[str, float]) -> list[str]:
    """What is promised and not so."""
    limit = 1 - CONFIDENCE + 0.01
    told = [f"{name} is wrong in {worst[name]:.3f} of the worlds" for name in RULES if worst[name] > limit]
    told = [line for line in told if line.startswith(("fixed", "Bonferroni"))]
    if worst["naive"] <= limit:
        told.append("the naive choice passes as well: these worlds can't tell a bad certificate")
    return told


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
