"""Time of one decision by the number of calibration scores: bash scripts/bench_decision.sh.

python scripts/figures/decision.py --sizes 1600 100000

Every batch decides on as many new scores as fit before a bank has grown by a tenth, one after the other,
loop included. Told are the best batch, which is what the code takes where nothing else runs, and the median
batch, which is what it took here.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ATTS.method.conformal import GAMMA, CalibrationSet, Online, RejectionRule
from ATTS.store import atomic

TARGET = 20.0  # microseconds, insertion included


def judges(scores: Sequence[float]) -> dict[str, Callable[[], RejectionRule]]:
    """What is timed: an array's set, which nothing is added to, and banks, to which every score is."""

    def bank(**flags: Any) -> Callable[[], RejectionRule]:
        def filled() -> RejectionRule:
            online = Online(0.4, **flags)
            online.start(scores)
            return online

        return filled

    return {
        "array": lambda: CalibrationSet(scores, 0.4),
        "online": bank(gamma=GAMMA, by_turn=True),
        "adaptive": bank(gamma=GAMMA),
        "online, bounded": bank(gamma=GAMMA, by_turn=True, window=len(scores)),
    }


def measure(size: int, batches: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    scores = (1 + rng.lognormal(size=size)).tolist()
    count = max(10, min(1000, size // 10))
    rows = []
    for name, make in judges(scores).items():
        taken = []
        for batch in range(batches):
            if batch * count % max(count, size // 10) == 0:
                judge = make()  # a bank grows by a tenth at most
            new = (1 + rng.lognormal(size=count)).tolist()
            started = time.perf_counter()
            for score in new:
                judge(score, 0)
            taken.append((time.perf_counter() - started) / count * 1e6)
        row = {"calibration": name, "scores": size, "best us": min(taken), "median us": statistics.median(taken)}
        rows.append(row | {"reached": min(taken) <= TARGET})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 1600, 100_000])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [row for size in args.sizes for row in measure(size, args.batches)]
    print("| calibration | scores | best, us | median, us |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['calibration']} | {row['scores']:,} | {row['best us']:.2f} | {row['median us']:.2f} |")
    if args.out:
        atomic.write(args.out, json.dumps(rows, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
