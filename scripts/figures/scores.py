r"""How well each score tells wrong text of the draft from right text (docs/SCORES.md), for any pair and data set.

python scripts/figures/scores.py --small_model_name DRAFT --eval_model_name TARGET --dataset_name math500 \
    --small_model_max_tokens 80 --turns 8 --repeats 2 --out results/scores

The draft writes every chain alone; the target scores each chunk once, with the likeliest tokens, and all scores are
computed from the same log-probabilities. Chains go to OUT/chains.jsonl as they end; the same command adds those that
are missing, and prints the tables without servers once all are there. scripts/measure_scores.sh starts the demo pair.

AUROC: how often a wrong chunk (chain) has a higher score than a right one; 0.5 is chance. A chunk is *wrong if left
alone* if its chain's answer turned out wrong. With the demo's problems wrong steps are known: there a chunk is wrong if
it holds the first wrong step of its chain, and chunks behind that one are left out, because a rejection would mend it.
Intervals (95 %): 2,000 bootstrap samples of the questions; one around 1.000 has no width, whatever the questions.
"""

import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS import console
from ATTS.analysis.tables import markdown
from ATTS.console import Progress
from ATTS.errors import ExitStatus, SampleError, UserError
from ATTS.flags import Incidental, Part, Positive
from ATTS.method.chain import Chain
from ATTS.method.score import SCORES, Score, scoring
from ATTS.method.types import Stage
from ATTS.runs import models, parts, questions
from ATTS.serving.queue import drain
from ATTS.serving.server_info import new_session
from ATTS.store import atomic, provenance
from ATTS.store.records import OWED, Key, Keys
from ATTS.tasks import datasets
from ATTS.tasks.equivalence import Grader, Verdict

FEWEST = 10  # wrong ones, and right ones, for a figure
BOOTSTRAPS = 2000
RANDOM = "random"
CELL = "{auroc:.3f} ({low:.3f} - {high:.3f})"
LESS = "{difference:+.3f} ({difference_low:+.3f} - {difference_high:+.3f})"
Floats = NDArray[np.float64]


class ScoreFigures(Part):
    """Flags of this program."""

    draft: parts.Draft
    target: parts.TargetModel
    data: parts.Data
    samples: parts.Chains = parts.Chains(repeats=2)
    answers: parts.Answers = parts.Answers()
    requests: parts.Requests = parts.Requests()
    limits: parts.PairLimits = parts.PairLimits(target=8)

    windows: Incidental[tuple[Positive[int], ...]] = ()
    """More lengths of the window of worst_window, in tokens."""

    out: Incidental[Path] = Path("results/scores")
    """Folder of the chains and figures."""


async def collect(s: ScoreFigures, path: Path) -> None:
    """Adds the chains that are missing. Raises UserError."""
    keys = Keys(questions.to_evaluate(s.data), s.samples.repeats)
    done = {(row["question"], row["repeat"]) for row in atomic.read_lines(path) if row}
    owed = [key for key in keys if (key.question.index, key.repeat) not in done]
    if not owed:
        return
    journal = atomic.Journal(path)
    failed: list[str] = []
    async with new_session(s.requests.request_timeout) as session:
        draft = await models.draft(session, s.draft, s.requests, s.limits.draft)
        whole = parts.Target(name=s.target.name, port=s.target.port, address=s.target.address)
        target = await models.target(session, whole, s.requests, s.limits.target, template=True)
        draft.check(keys.questions)
        with Progress(len(keys), len(done), "chain") as progress:

            async def work(key: Key) -> None:
                row = await _chain(s, key, draft, target)
                if row["status"] in OWED:
                    failed.append(row["reason"])
                else:
                    await journal.add(json.dumps(row).encode())
                progress.add(row["status"])

            await drain(owed, work, s.limits.draft + s.limits.target)
    if failed:
        raise UserError(
            f"{len(failed)} chains failed at the servers (the first: {failed[0]}); the others are in {path}. The same"
            " command tries them again"
        )


async def _chain(s: ScoreFigures, key: Key, draft: models.ChunkModel, target: models.ChunkModel) -> dict[str, Any]:
    """One chain of the draft: its text, answer and, by chunk, what the target makes of each token."""
    d, t = draft.reader(key.question), target.reader(key.question)
    chain = Chain(s.answers.reader(), d, t, token_budget=s.samples.token_budget)
    chunks: list[dict[str, Any]] = []
    status, reason = ExitStatus.TURN_LIMIT, None
    try:
        for turn in range(s.samples.turns):
            written = await chain.extend(d, turn, Stage.DRAFT)
            if t.newest:
                logprobs, best, _ = await t.logprobs(with_best=True)
                chunks.append({"turn": turn, "text": written.output, "logprobs": logprobs, "best": best})
            if chain.answer is not None or written.final or chain.spent:
                status = ExitStatus.DRAFT_ENDED if chain.answer is None else ExitStatus.ANSWERED
                break
    except SampleError as error:
        status, reason = error.status, str(error)
    question = key.question
    told = {"question": question.index, "repeat": key.repeat, "problem": question.problem, "reference": question.answer}
    return {**told, "status": status, "reason": reason, "answer": chain.answer, "chunks": chunks}


@dataclass(frozen=True)
class Items:
    """What is told apart, all of one length: ``wrong`` is 1, 0, or NaN for what is left out."""

    question: NDArray[np.int_]
    turn: NDArray[np.int_]
    wrong: Floats
    scores: dict[str, Floats]


def chunks_of(chains: Sequence[dict[str, Any]], kinds: dict[str, Score], wrong: Sequence[Sequence[float]]) -> Items:
    """Every chunk; ``wrong``: by chain and chunk."""
    scores: dict[str, list[float]] = {name: [] for name in (*kinds, RANDOM)}
    for chain in chains:
        for chunk in chain["chunks"]:
            for name, kind in kinds.items():
                scores[name].append(kind(chunk["logprobs"], len(chunk["logprobs"]), chunk["best"]))
            scores[RANDOM].append(random.Random(f"{chain['question']}-{chain['repeat']}-{chunk['turn']}").random())
    question = [chain["question"] for chain in chains for _ in chain["chunks"]]
    turn = [chunk["turn"] for chain in chains for chunk in chain["chunks"]]
    made = {name: np.array(values) for name, values in scores.items()}
    return Items(np.array(question), np.array(turn), np.array([x for row in wrong for x in row], dtype=float), made)


def whole_chains(chains: Sequence[dict[str, Any]], items: Items, wrong: Sequence[float]) -> Items:
    """Every chain that has a chunk, by the largest score of its chunks."""
    sizes = [len(chain["chunks"]) for chain in chains]
    kept = [number for number, size in enumerate(sizes) if size]
    starts = np.cumsum([0, *sizes])[kept]
    scores = {name: np.maximum.reduceat(values, starts) for name, values in items.scores.items()}
    question = np.array([chains[number]["question"] for number in kept])
    return Items(question, np.zeros(len(kept), dtype=int), np.array([wrong[number] for number in kept]), scores)


def auroc(items: Items, group: NDArray[np.int_] | None = None) -> dict[str, dict[str, float]] | None:
    """Of each score, over pairs of a wrong and a right one of the same ``group`` (at least 0): with its interval and,
    paired, its difference to ``mean``. None for too few."""
    group = np.zeros_like(items.turn) if group is None else group
    bad, good = ((items.wrong == label) & (group >= 0) for label in (1, 0))
    chosen = group[bad][:, None] == group[good][None, :]
    if min(chosen.any(axis=1).sum(), chosen.any(axis=0).sum()) < FEWEST:
        return None
    names, number = np.unique(items.question, return_inverse=True)
    of_bad, of_good = (np.eye(len(names))[number[which]] for which in (bad, good))
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), BOOTSTRAPS)
    counts = of_bad.T @ chosen @ of_good  # pairs by question of the wrong one and of the right one

    def sums(by_question: Floats) -> Floats:
        """Over all questions, then for every bootstrap sample. Pairs within questions count once a question drawn."""
        if np.count_nonzero(counts - np.diag(np.diag(counts))) == 0:
            return np.append(by_question.sum(), drawn @ np.diag(by_question))
        return np.append(by_question.sum(), ((drawn @ by_question) * drawn).sum(axis=1))

    found: dict[str, Floats] = {}
    with np.errstate(invalid="ignore"):
        for name, score in items.scores.items():
            high, low = score[bad][:, None], score[good][None, :]
            won = chosen * ((high > low) + 0.5 * (high == low))
            found[name] = sums(of_bad.T @ won @ of_good) / sums(counts)
    made = {}
    for name, values in found.items():
        less = values - found["mean"]
        bounds = [float(x) for part in (values, less) for x in np.nanpercentile(part[1:], (2.5, 97.5))]
        made[name] = {"auroc": float(values[0]), "low": bounds[0], "high": bounds[1], "difference": float(less[0])}
        made[name] |= {"difference_low": bounds[2], "difference_high": bounds[3], "pairs": float(chosen.sum())}
    return made


def first_wrong(chain: dict[str, Any]) -> list[float]:
    """Of each chunk of a demo chain whether it holds the first wrong step; NaN behind it."""
    sys.path.append(str(Path(__file__).parents[1] / "demo_pair"))
    from solutions import parse, wrong_spans

    spans = wrong_spans(parse(chain["problem"]), "".join(chunk["text"] for chunk in chain["chunks"]))
    at = min((start for start, _ in spans), default=math.inf)
    labels, end = [], 0
    for chunk in chain["chunks"]:
        start, end = end, end + len(chunk["text"])
        labels.append(math.nan if at < start else float(at < end))
    return labels


def figures(s: ScoreFigures, chains: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """AUROC by what is told apart, by column, by score."""
    kinds = dict(SCORES) | {f"worst_window_{size}": scoring("worst_window", size) for size in s.windows}
    with Grader() as grader:
        verdicts = grader.compare([(chain["reference"], chain["answer"] or "") for chain in chains])
    wrong = [float(verdict is not Verdict.EQUAL) for verdict in verdicts]
    left_alone = [[bad] * len(chain["chunks"]) for bad, chain in zip(wrong, chains, strict=True)]
    labels = {"wrong if left alone": left_alone}
    if s.data.dataset_name == datasets.DEMO:
        labels = {"holds the first wrong step": [first_wrong(chain) for chain in chains], **labels}
    told: dict[str, Any] = {}
    for what, of_chunks in labels.items():
        items = chunks_of(chains, kinds, of_chunks)
        columns = {f"turn {turn}": np.where(items.turn == turn, 0, -1) for turn in range(max(items.turn) + 1)}
        columns |= {"all chunks": 0 * items.turn, "same turn": items.turn, "same question": items.question}
        told[f"a chunk {what}"] = {name: auroc(items, group) for name, group in columns.items()}
    whole = whole_chains(chains, items, wrong)
    told["a chain is wrong"] = {"all chains": auroc(whole), "same question": auroc(whole, whole.question)}
    counts = {"questions": len({chain["question"] for chain in chains}), "chains": len(chains)}
    counts |= {"wrong chains": int(sum(wrong)), "chunks": sum(len(chain["chunks"]) for chain in chains)}
    return {"counts": counts, "auroc": told}


def tables(told: dict[str, Any]) -> str:
    """For docs/SCORES.md."""
    lines = [", ".join(f"{name}: {count}" for name, count in told["counts"].items())]
    for what, columns in told["auroc"].items():
        shown = {name: part for name, part in columns.items() if part}
        for cell, text in ((CELL, ""), (LESS, ", less that of mean")):
            scores = list(next(iter(shown.values()), {}))[cell is LESS :]
            rows = [[score, *(cell.format(**part[score]) for part in shown.values())] for score in scores]
            lines += ["", f"AUROC (95 %){text}: {what}", "", markdown(["score", *shown], rows)]
    return "\n".join(lines)


async def main(s: ScoreFigures) -> str:
    """Collects what is missing; returns the tables. Raises UserError."""
    path, about = s.out / "settings.json", provenance.decisive(s)
    if path.exists() and (changed := provenance.differences(json.loads(path.read_text()), about)):
        raise UserError("\n  ".join([f"{s.out} holds chains of other settings; choose another --out:", *changed]))
    atomic.write(path, json.dumps(about, indent=1).encode() + b"\n")
    await collect(s, s.out / "chains.jsonl")
    asked = {question.index for question in questions.to_evaluate(s.data)}
    chains = [row for row in atomic.read_lines(s.out / "chains.jsonl") if row and row["question"] in asked]
    told = figures(s, sorted(chains, key=lambda row: (row["question"], row["repeat"])))
    atomic.write(s.out / "scores.json", json.dumps(told, indent=1).encode() + b"\n")
    atomic.write(s.out / "scores.md", tables(told).encode() + b"\n")
    return tables(told)


if __name__ == "__main__":
    console.run(ScoreFigures, __doc__, main)
