"""Stop rules on recorded runs (docs/STOPPING.md): what they save, and what they cost in accuracy.

    python scripts/figures/stopping.py --data FOLDER --out results/stopping

Replay: every question's recorded samples in drawn orders, by the rules that a run uses; answers are equal by the
grader's notion. Time: the same runs on an emulated 8B + 32B pair on a virtual clock, by the production queue, limits
and waves. Writes stopping.json into ``--out``. Exits with 1 where `beta .95` is not what docs/STOPPING.md says of it.
"""

import argparse
import functools
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from one_queue import LIMIT, REPEATS, TURNS
from one_queue import Recording as Played

from ATTS import console
from ATTS.analysis import intervals
from ATTS.analysis.tables import markdown
from ATTS.errors import UserError
from ATTS.method.conformal import Decision
from ATTS.runs.stopping import Stopping
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, simulate
from ATTS.simulation.script import recorded
from ATTS.store.records import Key
from ATTS.tasks.answers import find_answer_not_balanced, find_boxed
from ATTS.tasks.equivalence import Grader, Verdict
from ATTS.votes.labels import Labels
from ATTS.votes.stop import Outcome, StopName, StopRule, never, outcome, rule
from ATTS.votes.vote import Ballot

RULES: list[tuple[StopName, float | None]] = [
    *(("beta", 0.9), ("beta", 0.95), ("beta", 0.99)),
    *(("asc", 0.8), ("esc", 4), ("majority", None)),
]
FIXED = (1, 4, 5, 8)
TIMES = 4
MANY = f"clock, {TIMES} times the questions"
ON_THE_CLOCK: list[tuple[StopName, float | None]] = [("none", None), ("majority", None), ("beta", 0.9), ("beta", 0.95)]
LIMITS = {"points": 0.1, "samples": 7.0, "text": 0.43, "time": 0.6}  # of beta .95


@dataclass(frozen=True)
class Question:
    """A question's recorded samples: what each votes for, and how much text it is. ``right``: the vote that is."""

    votes: list[str | None]
    text: list[int]
    right: str | None


def read(path: Path, truth: Mapping[int, str], grader: Grader) -> list[Question]:
    """Answers are read with balanced braces, not as the published run read them."""
    labels = Labels(grader)
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for sample in Played(path, Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2")).samples:
        groups[sample["question_id"]].append(sample)
    found = []
    for number, samples in sorted(groups.items()):
        answers = [sample["final_answer_balanced"] for sample in samples]
        votes = [labels(number, str(answer)) if answer not in (None, "", "invalid") else None for answer in answers]
        distinct = [vote for vote in dict.fromkeys(votes) if vote is not None]
        verdicts = grader.compare([(truth[number], vote) for vote in distinct])
        right = next((v for v, verdict in zip(distinct, verdicts, strict=True) if verdict is Verdict.EQUAL), None)
        text = [sum(len(t["draft_text"] or "") + len(t["target_text"] or "") for t in s["turns"]) for s in samples]
        found.append(Question(votes, text, right))
    return found


Picked = Callable[[Sequence[Ballot]], Outcome]


def first(count: int) -> Picked:
    return lambda ballots: outcome(never, ballots[:count])


def replay(questions: Sequence[Question], orders: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Each rule on the same drawn orders, against the majority of all samples in that order."""
    ways: dict[str, Picked] = {
        _name(name, threshold): functools.partial(outcome, rule(name, threshold)) for name, threshold in RULES
    }
    ways |= {f"first {count}": first(count) for count in FIXED} | {"all 16": first(REPEATS)}
    sums = {way: np.zeros((len(questions), 4)) for way in ways}
    for number, question in enumerate(questions):
        dice = random.Random(f"{seed}-{number}")
        for _ in range(orders):
            order = dice.sample(range(len(question.votes)), len(question.votes))
            ballots = [Ballot(question.votes[i]) for i in order]
            whole = outcome(never, ballots).answer
            for way, pick in ways.items():
                picked = pick(ballots)
                share = sum(question.text[i] for i in order[: picked.used]) / sum(question.text)
                same = picked.answer is not None and picked.answer == question.right
                sums[way][number] += (
                    same,
                    same - (whole is not None and whole == question.right),
                    picked.used,
                    share,
                )
    found = {}
    for way, values in sums.items():
        right, against, used, share = (values / orders).T
        low, high = intervals.difference(against)
        total = np.array([sum(question.text) for question in questions])
        found[way] = {
            "accuracy": float(right.mean()),
            "points": 100 * float(against.mean()),
            "low": 100 * low,
            "high": 100 * high,
            "questions_that_differ": int((against != 0).sum()),
            "samples": float(used.mean()),
            "text": float((share * total).sum() / total.sum()),
            "text_of_a_question": float(share.mean()),
        }
    return found


def on_the_clock(played: Played, truth: Mapping[int, str], grader: Grader, times: int = 1) -> dict[str, dict[str, Any]]:
    """The run on an emulated pair with adaptive limits, all samples and with rules. ``times``: how often each recorded
    question is asked, as if it were another."""
    found: dict[str, dict[str, Any]] = {}
    samples = [{**s, "question": f"{s['question']} ({again})"} for again in range(times) for s in played.samples]
    ids = [s["question_id"] for s in {s["question"]: s for s in samples}.values()]
    labels = Labels(grader)

    async def label(number: int, answer: str) -> str:
        return labels(number, answer)

    def balanced(text: str, ended: bool) -> str | None:
        """Ends a chain where the recorded run did; read with balanced braces."""
        published = find_answer_not_balanced(text, ended)
        return None if published is None else find_boxed(text) or published

    def decide(score: float, turn: int = 0) -> Decision:  # noqa: ARG001
        return Decision(0.0, score > played.highest_accepted * (1 + 1e-12))

    for name, threshold in ON_THE_CLOCK:
        stops: list[Stopping] = []

        def stopping(keys: Sequence[Key], by: StopRule, made: list[Stopping]) -> Stopping:
            made.append(Stopping(by, keys, label))
            return made[0]

        chosen = functools.partial(stopping, by=rule(name, threshold), made=stops)
        script, questions = recorded(samples, LIMIT)
        limits = (LIMIT, LIMIT)
        chunks = list(questions.values())
        run = simulate(
            script, chunks, REPEATS, TURNS, played.timings, DriverOptions(), balanced, decide, limits, stopping=chosen
        )
        votes = [outcome(never, stops[0].ballots(number)) for number in range(len(ids))]
        pairs = [(truth[i], vote.answer or "") for i, vote in zip(ids, votes, strict=True)]
        right = [verdict is Verdict.EQUAL for verdict in grader.compare(pairs)]
        found[_name(name, threshold)] = {
            "seconds": run.seconds,
            "accuracy": float(np.mean(right)),
            "samples": float(np.mean([vote.used for vote in votes])),
            "tokens": sum(engine["written"] for engine in run.engines.values()),
        }
    for row in found.values():
        row["time"] = row["seconds"] / found["none"]["seconds"]
        row["text"] = row["tokens"] / found["none"]["tokens"]
    return found


def _name(name: StopName, threshold: float | None) -> str:
    return name if threshold is None else f"{name} {threshold:g}"


def not_kept(found: dict[str, Any]) -> list[str]:
    """What docs/STOPPING.md says of beta .95 and is not so."""
    lines = []
    for name, one in found.items():
        row, clock = one["replay"]["beta 0.95"], one[MANY]["beta 0.95"]
        told = {"points": abs(row["points"]), "samples": row["samples"], "text": row["text_of_a_question"]}
        told["time"] = clock["time"]
        lines += [f"{name}: beta .95 has {what} {v:.3f}" for what, v in told.items() if v > LIMITS[what] + 1e-9]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with traces/")
    parser.add_argument("--recordings", nargs="+", default=["ct1", "nonct", "ct1_v1"])
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results/stopping"))
    args = parser.parse_args()
    found: dict[str, Any] = {}
    try:
        rows = json.loads((args.data / "traces" / "math500_gt_open.json").read_text())
        truth = {row["question_id"]: str(row["answer"]) for row in rows}
        pair = Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2")
        with Grader() as grader:
            for name in args.recordings:
                path = args.data / "traces" / f"traces_math500_{name}.jsonl.gz"
                found[name] = {
                    "replay": replay(read(path, truth, grader), args.orders),
                    "clock": on_the_clock(Played(path, *pair), truth, grader),
                    MANY: on_the_clock(Played(path, *pair), truth, grader, TIMES),
                }
                _print(name, found[name])
    except UserError as problem:
        sys.exit(console.fail(problem))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "stopping.json").write_text(json.dumps({"orders": args.orders, **found}, indent=1) + "\n")
    sys.exit("\n".join(not_kept(found)) or 0)


def _print(name: str, one: dict[str, Any]) -> None:
    rows = [
        (
            way,
            f"{100 * row['accuracy']:.1f} %",
            f"{row['points']:+.2f} ({row['low']:+.1f} - {row['high']:+.1f})",
            f"{row['samples']:.1f}",
            f"{100 * row['text_of_a_question']:.0f} %",
            f"{100 * row['text']:.0f} %",
        )
        for way, row in one["replay"].items()
    ]
    columns = (
        "rule",
        "vote right",
        "against all 16, points (95 %)",
        "samples",
        "started",
        "text of a question",
        "text of all",
    )
    print(f"\n{name}: replay\n\n{markdown(columns, rows)}")
    for what in (name for name in one if name.startswith("clock")):
        rows_on_clock = [
            (
                way,
                f"{row['seconds']:.0f}",
                f"{row['time']:.2f}",
                f"{100 * row['accuracy']:.1f} %",
                f"{row['samples']:.1f}",
                f"{100 * row['text']:.0f} %",
            )
            for way, row in one[what].items()
        ]
        columns_on_clock = ("rule", "seconds", "of the full run's", "vote right", "samples that ended", "tokens")
        print(f"\n{name}: {what}\n\n{markdown(columns_on_clock, rows_on_clock)}", flush=True)


if __name__ == "__main__":
    main()
