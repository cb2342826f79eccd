"""One queue against one question at a time, on a recorded run replayed by an emulated 8B + 32B pair.

    python scripts/figures/one_queue.py --data FOLDER

The production loop, queue and limits on a virtual clock (ATTS.simulation.run); chunks, scores and
decisions are the recording's. Exactly repeatable: no figure depends on the machine.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from show import show

from ATTS import console
from ATTS.emulator.timing import Timing
from ATTS.errors import UserError
from ATTS.method.conformal import Decision
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, Outcome, simulate
from ATTS.simulation.script import recorded
from ATTS.store.recording import read_recording
from ATTS.tasks.answers import find_answer_not_balanced

REPEATS, TURNS, LIMIT = 16, 15, 500
SWEEP = [
    (16, 4),
    (32, 16),
    (64, 24),
    (64, 32),
    (64, 48),
    (96, 32),
    (96, 40),
    (96, 48),
    (128, 40),
    (128, 64),
    (256, 128),
]
SAMPLES = [64, 80, 100]  # samples in flight, with 100/40 and 100/36 requests


class Recording:
    """One recorded run and the pair that replays it."""

    def __init__(self, path: Path, draft: Deployment, target: Deployment) -> None:
        self.samples = read_recording(path)
        self.timings = {"draft": draft.timing(), "target": target.timing()}
        taken_over = [t["ppl"] for s in self.samples for t in s["turns"] if t["target_text"] is not None]
        accepted = [t["ppl"] for s in self.samples for t in s["turns"] if t["ppl"] and t["target_text"] is None]
        self.highest_accepted = max(accepted)
        if min(taken_over) < self.highest_accepted:
            raise UserError(f"{path}: its decisions don't follow one threshold")

    def run(self, ways: DriverOptions) -> Outcome:
        script, questions = recorded(self.samples, LIMIT)  # anew: playing it uses it up

        def decide(score: float, turn: int = 0) -> Decision:  # noqa: ARG001
            return Decision(0.0, score > self.highest_accepted * (1 + 1e-12))

        return simulate(
            script,
            list(questions.values()),
            REPEATS,
            TURNS,
            self.timings,
            ways,
            find_answer_not_balanced,
            decide,
            (LIMIT, LIMIT),
        )


def lower_bound(outcome: Outcome, timings: dict[str, Timing], slots: dict[str, int] | None) -> dict[str, float]:
    """Seconds that each server needs for the same tokens if its slots are always full (``slots``: how
    many), or as many of the run's mean requests as its memory holds; prefill of what was new once added."""
    bounds = {}
    for role, timing in timings.items():
        told = outcome.engines[role]
        tokens = outcome.written.get(role, 0)
        mean = told["mean_context"]
        running = slots[role] if slots else max(1, int(timing.kv_tokens / mean))
        decode = timing.step(running, running * mean) / running * tokens
        bounds[role] = decode + told["new"] / timing.prefill_tokens_per_second
    return bounds


def rows(recording: Recording) -> tuple[list[list[object]], list[list[object]], dict[str, Any]]:
    table: list[list[object]] = []
    figures: dict[str, Any] = {}

    def add(name: str, ways: DriverOptions, slots: dict[str, int] | None = None) -> Outcome:
        outcome = recording.run(ways)
        bound = lower_bound(outcome, recording.timings, slots)
        memory = lower_bound(outcome, recording.timings, None)
        busy = {role: told["slots_busy_until_queue_empty"] for role, told in outcome.servers.items()}
        figures[name] = {
            "seconds": outcome.seconds,
            "slots_busy_until_queue_empty": busy,
            "hits": {role: told["hits"] for role, told in outcome.engines.items()},
            "lower_bound_slots_full": bound if slots else None,
            "lower_bound_memory_full": memory,
        }
        table.append(
            [
                name,
                f"{outcome.seconds:.0f}",
                *(f"{100 * share:.1f} %" if share is not None else "-" for share in busy.values()),
                *(f"{100 * told['hits']:.0f} %" for told in outcome.engines.values()),
                f"{max(bound.values()):.0f}" if slots else "-",
                f"{max(memory.values()):.0f}",
            ]
        )
        return outcome

    for draft, target in ((16, 4), (64, 32)):
        slots = {"draft": draft, "target": target}
        limits = {"draft_limit": draft, "target_limit": target}
        for schedule in ("question", "queue"):
            add(f"{schedule} {draft}/{target}", DriverOptions(**limits, schedule=schedule), slots)  # type: ignore[arg-type]
    add("queue adaptive", DriverOptions())
    ahead: list[list[object]] = []
    for name, ways in (
        ("question 16/4", DriverOptions(draft_limit=16, target_limit=4, schedule="question")),
        ("question 64/32", DriverOptions(draft_limit=64, target_limit=32, schedule="question")),
        ("queue 16/4", DriverOptions(draft_limit=16, target_limit=4)),
        ("queue adaptive", DriverOptions()),
    ):
        plain, early = recording.run(ways), recording.run(replace(ways, optimistic=True))
        if early.written != plain.written:
            raise UserError("drafting ahead has changed the chains")
        wasted = early.engines["draft"]["written"] / early.written["draft"] - 1
        figures[f"{name}, optimistic"] = {"seconds": early.seconds, "wasted_draft_tokens": wasted}
        latency = [run.mean_seconds for run in (plain, early)]
        ahead.append(
            [
                name,
                f"{plain.seconds:.0f}",
                f"{early.seconds:.0f}",
                *(f"{mean:.1f}" for mean in latency),
                f"{100 * wasted:.0f} %",
            ]
        )
    best = None
    for draft, target in SWEEP:
        for samples in (0, *(SAMPLES if target in (32, 36, 40, 44) else ())):
            outcome = recording.run(DriverOptions(draft_limit=draft, target_limit=target, samples_in_flight=samples))
            if best is None or outcome.seconds < best[0]:
                best = (outcome.seconds, draft, target, samples)
    assert best is not None
    figures["best fixed"] = dict(zip(("seconds", "draft", "target", "samples"), best, strict=True))
    table.append([f"queue {best[1]}/{best[2]}, {best[3] or best[1] + best[2]} samples: best of the sweep"])
    table[-1] += [f"{best[0]:.0f}", *["-"] * 6]
    seconds = {name: found["seconds"] for name, found in figures.items()}
    figures["ratios"] = {
        "16/4: question : queue": seconds["question 16/4"] / seconds["queue 16/4"],
        "64/32: question : queue": seconds["question 64/32"] / seconds["queue 64/32"],
        "question 16/4 : adaptive": seconds["question 16/4"] / seconds["queue adaptive"],
        "adaptive : best fixed": seconds["queue adaptive"] / best[0],
    }
    return table, ahead, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recordings", nargs="+", default=["ct1", "nonct"])
    parser.add_argument("--draft", default="8B:A100")
    parser.add_argument("--target", default="32B:A100x2")
    args = parser.parse_args()
    columns = [
        "run",
        "seconds",
        "draft slots",
        "target slots",
        "draft hits",
        "target hits",
        "slots full",
        "memory full",
    ]
    try:
        for name in args.recordings:
            path = args.data / "traces" / f"traces_math500_{name}.jsonl.gz"
            table, ahead, figures = rows(Recording(path, Deployment.parse(args.draft), Deployment.parse(args.target)))
            print(f"\n{name}: {args.draft} + {args.target}\n")
            show(columns, table, {name: figures})
            print()
            columns_ahead = ["run", "seconds", "optimistic", "a sample", "optimistic", "draft tokens for nothing"]
            show(columns_ahead, ahead, {})
            print()
            show(["ratio", ""], [[k, f"{v:.3f}"] for k, v in figures["ratios"].items()], figures["ratios"])
    except UserError as problem:
        sys.exit(console.fail(problem))


if __name__ == "__main__":
    main()
