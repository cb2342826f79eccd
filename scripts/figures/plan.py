"""Hours and GPU-hours of whole benchmarks on 3 to 64 GPUs, simulated, and where more of them stop helping.

    python scripts/figures/plan.py

A draft of 8B on an A100 and a target of 32B on two are a server each; GPUs are shared out so that both sides are busy.
The production loop, queue, placement and limits on a virtual clock, as ``python -m ATTS.simulate --draft_replicas N
--target_replicas N``; chains are drawn, long ones for AIME.
"""

import argparse
import sys

from show import show

from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, Outcome, Workload
from ATTS.simulation.simulate import run

DRAFT, TARGET = Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2")
SERVERS = {3: (1, 1), 8: (2, 3), 16: (6, 5), 64: (22, 21)}  # drafts and targets, by GPUs
WORK = {
    "AIME x 64": Workload(questions=30, samples=64, turns=30, answers=0.1),
    "MATH500 x 16": Workload(questions=500, samples=16, turns=15, answers=0.35),
}


def simulated(work: Workload, gpus: int) -> Outcome:
    """A whole benchmark on so many GPUs."""
    drafts, targets = SERVERS[gpus]
    return run(work, DRAFT, TARGET, DriverOptions(draft_replicas=drafts, target_replicas=targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=sorted(SERVERS), choices=sorted(SERVERS))
    parser.add_argument("--work", nargs="+", default=list(WORK), choices=list(WORK))
    args = parser.parse_args()
    rows, figures = [], {}
    for name in args.work:
        first: float | None = None
        for gpus in args.gpus:
            found = simulated(WORK[name], gpus)
            hours = found.seconds / 3600
            first = first or hours * gpus
            busy = [f"{100 * found.engines[role]['busy']:.0f} %" for role in ("draft", "target")]
            row = [name, gpus, "{} + {}".format(*SERVERS[gpus]), f"{hours:.2f}", f"{hours * gpus:.1f}"]
            row += [f"{100 * first / (hours * gpus):.0f} %", " / ".join(busy)]
            row += [f"{found.longest_seconds / 3600:.2f}", f"{100 * found.longest_seconds / found.seconds:.0f} %"]
            rows.append(row)
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            figures[f"{name}, {gpus} GPUs"] = {
                "seconds": found.seconds,
                "longest_seconds": found.longest_seconds,
                "samples": found.samples,
                **{role: found.engines[role] for role in ("draft", "target")},
            }
    columns = ["run", "GPUs", "drafts + targets", "hours", "GPU-hours", "of the GPU-hours of 3"]
    show([*columns, "busy, draft / target", "longest sample, hours", "of the run"], rows, figures)


if __name__ == "__main__":
    main()
