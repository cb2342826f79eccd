"""What a setting would have come to, from the samples of a finished run: no model is asked."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis import folders
from ATTS.analysis.chains import chain
from ATTS.analysis.grading import by_math, ran
from ATTS.analysis.voting import RIGHT, stored, told
from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.simulation.script import tokens_of
from ATTS.store import result_folder
from ATTS.store.records import Record
from ATTS.tasks.answers import INVALID, find_answer
from ATTS.tuning.space import Setting
from ATTS.votes.stop import decision, rule
from ATTS.votes.vote import Ballot, Vote, majority

Objective = Literal["mean", "majority", "weighted"]
ORDERS = 32  # in which a question's samples may have come
AUTHORS = {stage.value: stage.author for stage in Stage}


@dataclass(frozen=True, slots=True)
class Turn:
    """Tokens written in one turn. ``target``: None where it was not asked."""

    draft: int
    target: int | None
    replaced: bool = False  # the draft's chunk was discarded


@dataclass(frozen=True, slots=True)
class Sample:
    """``vote``: what its answer means, :data:`RIGHT` if it is right, None without one. ``confidence``: in it, if
    a model was asked."""

    vote: str | None
    turns: tuple[Turn, ...]
    confidence: float | None = None

    def tokens(self, turns: int) -> tuple[int, int]:
        """Of the draft and of the target, in so many turns."""
        kept = self.turns[:turns]
        return sum(turn.draft for turn in kept), sum(turn.target or 0 for turn in kept)


@dataclass(frozen=True)
class Run:
    """A finished run: the samples of each question. ``alone``: one model wrote everything, the "draft" or the "target".
    ``models``: the names of the one that writes first and of the one that helps, where they are told."""

    name: str
    path: Path
    questions: Mapping[int, Sequence[Sample]]
    alone: str | None
    models: tuple[str | None, str | None] = (None, None)

    @property
    def turns(self) -> int:
        """The most turns of any sample."""
        return max(len(sample.turns) for samples in self.questions.values() for sample in samples)

    @property
    def repeats(self) -> int:
        """Samples that every question has."""
        return min(map(len, self.questions.values()))


@dataclass(frozen=True, slots=True)
class Score:
    """What a setting comes to on some questions, a value a question: the chance that its answer is right, and the
    tokens that draft and target write."""

    questions: tuple[int, ...]
    right: tuple[float, ...]
    draft_tokens: tuple[float, ...]
    target_tokens: tuple[float, ...]


def read(path: Path, dataset_name: str | None, repeats: int | None, data_dir: Path | None, again: bool = False) -> Run:
    """A result folder or a recording, with all of its samples; ``again``: with answers read anew. Raises UserError."""
    folder = folders.load(path, dataset_name, repeats, data_dir)
    if again:
        samples: list[Record] = [
            {**s, "final_answer": find_answer(chain(s, folder.by_compat), True) or INVALID} for s in folder.samples
        ]
        folder = replace(folder, samples=samples)
    if len(ran(folder.samples)) < len(folder.samples):
        raise UserError(f"{path} left samples out (--stop), so it can't tell what they would have said: leave it out")
    graded = by_math(folder.samples, folder.references, folder.repeats)
    per_token = 0.0
    if any("tokens" not in e for s in folder.samples for e in s["full_history"] if AUTHORS[e["model"]]):
        per_token = _characters(folder.samples)
    groups: dict[int, list[Sample]] = defaultdict(list)
    by = stored(folder.samples)
    for one, sample in zip(graded, folder.samples, strict=True):
        vote = None if one.answer is None else RIGHT if one.right else one.vote
        groups[one.question].append(Sample(vote, _turns(sample, per_token), told(sample, by) if by else None))
    settings = result_folder.settings(path) if path.is_dir() else {}
    by_target = any(t.target is not None for samples in groups.values() for s in samples for t in s.turns)
    models = settings.get("small_model_name"), settings.get("eval_model_name")
    alone = None if by_target or models[1] else "draft"
    name = path.resolve().name
    if not path.is_dir():
        name = name.removesuffix(".gz").removesuffix(".jsonl")
    return Run(name, path, dict(sorted(groups.items())), alone, models)


def of_first(run: Run, count: int) -> Run:
    """Its first questions only, by their numbers: a folder may hold more from an earlier command."""
    return replace(run, questions={number: run.questions[number] for number in sorted(run.questions)[:count]})


def with_roles(runs: Sequence[Run]) -> list[Run]:
    """Says which runs are of the target alone: its name is that of the model that helps in another run."""
    targets = {run.models[1] for run in runs} - {None}
    return [replace(run, alone="target") if run.alone and run.models[0] in targets else run for run in runs]


def _characters(samples: Sequence[Record], limit: int = 500) -> float:
    """Of a token, told from the draft's chunks that another turn followed."""
    chunks = []
    for sample in samples:
        drafted = [e["output"] or "" for e in sample["full_history"] if e["model"] == Stage.DRAFT.value]
        chunks += drafted[:-1]
    return tokens_of(chunks, limit) if chunks else 4.0


def _turns(sample: Record, per_token: float) -> tuple[Turn, ...]:
    found: dict[int, Turn] = {}
    for entry in sample["full_history"]:
        author = AUTHORS[entry["model"]]
        if author is None:
            continue
        count = entry["tokens"] if "tokens" in entry else round(len(entry.get("output") or "") / per_token)
        known = found.get(entry["turn"], Turn(0, None))
        gone = known.replaced or entry["model"] == Stage.DRAFT_DISCARDED.value
        if author == "draft":
            found[entry["turn"]] = Turn(known.draft + count, known.target, gone)
        else:
            found[entry["turn"]] = Turn(known.draft, (known.target or 0) + count, gone)
    return tuple(found[number] for number in sorted(found))


def score(run: Run, setting: Setting, questions: Sequence[int], orders: int = ORDERS, vote: Vote = majority) -> Score:
    """The mean over drawn orders of a question's samples, the same orders for all settings of a run. With fewer turns,
    a chain that went on has no answer."""
    found = [_of_question(run, number, setting, orders, vote) for number in questions]
    right, draft, target = zip(*found, strict=True)
    return Score(tuple(questions), right, draft, target)


def _of_question(run: Run, number: int, setting: Setting, orders: int, vote: Vote) -> tuple[float, float, float]:
    samples = run.questions[number]
    votes = [s.vote if len(s.turns) <= setting.turns else None for s in samples]
    tokens = np.array([s.tokens(setting.turns) for s in samples], dtype=np.float64)
    if setting.repeats == 1:
        right = sum(one == RIGHT for one in votes) / len(votes)
        return right, float(tokens[:, 0].mean()), float(tokens[:, 1].mean())
    stop, ballots = (
        rule(setting.stop, setting.threshold),
        [Ballot(v, s.confidence) for v, s in zip(votes, samples, strict=True)],
    )
    sums = np.zeros(3)
    for order in drawn_orders(number, len(samples), orders):
        said = [ballots[i] for i in order[: setting.repeats]]
        decided = decision(stop, said, len(said))
        winners, used = ((decided.answer,), decided.used) if decided else (vote(said), len(said))
        share = (RIGHT in winners) / len(winners) if winners else 0.0
        sums += (share, *tokens[list(order[:used])].sum(0))
    right, draft, target = (sums / orders).tolist()
    return right, draft, target


@lru_cache(maxsize=4096)
def drawn_orders(question: int, samples: int, count: int) -> list[list[int]]:
    """Orders in which a question's samples may have come, the same for all that ask."""
    dice = random.Random(f"order-{question}")
    return [dice.sample(range(samples), samples) for _ in range(count)]


def halves(runs: Sequence[Run]) -> tuple[list[int], list[int]]:
    """The questions that all runs have: the first half to search on, the second to report on. Raises UserError."""
    shared = sorted(set.intersection(*(set(run.questions) for run in runs)))
    if len(shared) < 4:
        raise UserError("the runs have fewer than 4 questions in common: a half to search on and one to report on")
    return shared[: len(shared) // 2], shared[len(shared) // 2 :]


def cost(found: Score, prices: tuple[float, float]) -> float:
    """Of a question, where a token of the draft costs the first price and one of the target the second."""
    draft: NDArray[np.float64] = np.array(found.draft_tokens)
    return float((prices[0] * draft + prices[1] * np.array(found.target_tokens)).mean())
