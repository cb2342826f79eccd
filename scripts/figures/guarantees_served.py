"""Recorded runs judged again in the order in which an emulated pair of servers serves them.

The production loop, queue and limits on a virtual clock (ATTS.simulation.run), served round by round as runs
that learn on the way are. A rejected chunk delays its sample by what the target writes, so the samples that
come late to a turn are those with higher scores, and a memory bank judges them by lower ones.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedList

from ATTS.method.conformal import GAMMA, Decision, Online, forms
from ATTS.method.conformal.decision import Draws
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, simulate
from ATTS.simulation.script import recorded
from ATTS.tasks.answers import find_answer_not_balanced

Figures = dict[str, Any]
Sample = dict[str, Any]  # of a recording
RATE, REPEATS, TURNS, LIMIT = 0.4, 16, 15, 500
OVERALL, AT_A_TURN, FEWEST = 0.02, 0.03, 200  # how far a run may miss; of a turn with so many decisions at least
PAIR = {"draft": "8B:A100", "target": "32B:A100x2"}


class Scored(NamedTuple):
    """A scored chunk. ``start``: its sample's place in the queue; ``taken``: chunks of the sample that went to the
    target before; ``last``: the sample has no further one that is scored."""

    start: int
    turn: int
    taken: int
    score: float
    last: bool


def served(found: Sequence[Sample], in_flight: int, seed: int) -> tuple[list[Scored], float]:
    """The scored chunks of a recording in the order of their decisions, questions and repeats in a drawn order, and
    how many samples were under way on the average. ``in_flight``: at most so many; 0: by the adaptive limits."""
    rng = np.random.default_rng(seed)
    by_question: dict[int, list[Sample]] = defaultdict(list)
    for sample in found:
        by_question[sample["question_id"]].append(sample)
    questions = [by_question[number] for number in rng.permutation(sorted(by_question)).tolist()]
    drawn = [[repeats[i] for i in rng.permutation(len(repeats))] for repeats in questions]
    script, prompts = recorded([sample for repeats in drawn for sample in repeats], LIMIT)
    chunks: dict[float, tuple[int, int, int, float]] = {}
    for place, repeats in enumerate(drawn):
        for repeat, sample in enumerate(repeats):
            taken = 0
            for turn, chunk in enumerate(sample["turns"]):
                if chunk["ppl"] is not None:
                    start = repeat * len(drawn) + place
                    chunks[_key(chunk["ppl"])] = (start, turn, taken, chunk["ppl"])
                taken += chunk["target_text"] is not None
    assert len(chunks) == sum(chunk["ppl"] is not None for sample in found for chunk in sample["turns"])
    order: list[tuple[int, int, int, float]] = []

    def decide(score: float, turn: int = 0) -> Decision:
        chunk = chunks[_key(score)]
        assert chunk[1] == turn
        order.append(chunk)
        # The recorded decision, which the script holds as the target's text: rejected if there is one.
        return Decision(0.0, rejected[chunk[3]])

    rejected = {chunk["ppl"]: chunk["target_text"] is not None for sample in found for chunk in sample["turns"]}
    timings = {role: Deployment.parse(name).timing() for role, name in PAIR.items()}
    options = DriverOptions(samples_in_flight=in_flight, rounds=True)
    outcome = simulate(
        script, list(prompts.values()), REPEATS, TURNS, timings, options, find_answer_not_balanced, decide,
        (LIMIT, LIMIT),
    )  # fmt: skip
    final = {chunk[0]: number for number, chunk in enumerate(order)}
    under_way = outcome.mean_seconds * outcome.samples / outcome.seconds
    return [Scored(*chunk, last=final[chunk[0]] == number) for number, chunk in enumerate(order)], under_way


def _key(score: float) -> float:
    return round(math.log(score), 10)


def bank(order: Sequence[Scored], gamma: float = 0.0, by_turn: bool = False, by_taken: bool = False) -> list[bool]:
    """Decisions of :class:`Online`; ``by_taken``: a bank for each turn and number of take-overs."""
    judge = Online(RATE, gamma=gamma, by_turn=by_turn)
    return [judge(c.score, 100 * c.turn + c.taken if by_taken else c.turn).rejected for c in order]


def completed(order: Sequence[Scored]) -> list[bool]:
    """Compared, at its turn, with the samples that stand in the queue before the oldest one that has neither
    passed the turn nor ended: none of them is left out for being late."""
    draws = Draws(0)
    passed: dict[int, int] = defaultdict(int)  # turns that a sample has behind it
    scores: dict[tuple[int, int], float] = {}
    known: dict[int, int] = defaultdict(int)  # samples at the head of the queue, by turn
    banks: dict[int, SortedList] = defaultdict(SortedList)
    scored = {chunk.start for chunk in order}
    rejected = []
    for chunk in order:
        turn, bank = chunk.turn, banks[chunk.turn]
        while known[turn] <= max(scored) and (known[turn] not in scored or passed[known[turn]] > turn):
            if (known[turn], turn) in scores:
                bank.add(scores[known[turn], turn])
            known[turn] += 1
        below, upto = bank.bisect_left(chunk.score), bank.bisect_right(chunk.score)
        rejected.append(forms.smoothed_p_value(below, upto - below, len(bank), draws.next()) <= RATE)
        scores[chunk.start, turn] = chunk.score
        passed[chunk.start] = TURNS if chunk.last else turn + 1
    return rejected


RULES: dict[str, Callable[[Sequence[Scored]], list[bool]]] = {
    "the bank alone": bank,
    "a bank by turn and take-overs": lambda order: bank(order, by_taken=True),
    "completed samples only": completed,
    "adaptive": lambda order: bank(order, GAMMA),
    "online": lambda order: bank(order, GAMMA, by_turn=True),
}


def missed(order: Sequence[Scored], rejected: Sequence[bool]) -> tuple[float, float]:
    """By how much one run misses the rate: overall, and most of all at a turn with at least FEWEST decisions."""
    turns, decided = np.array([chunk.turn for chunk in order]), np.array(rejected)
    of_turns = [decided[turns == turn] for turn in range(TURNS)]
    worst = [abs(float(some.mean()) - RATE) for some in of_turns if len(some) >= FEWEST]
    return abs(float(decided.mean()) - RATE), max(worst, default=0.0)


def holds(order: Sequence[Scored], rejected: Sequence[bool]) -> bool:
    overall, at_a_turn = missed(order, rejected)
    return overall <= OVERALL and at_a_turn <= AT_A_TURN


def _ranks(order: Sequence[Scored]) -> NDArray[np.float64]:
    """Of each chunk, the share of all scores of its turn that are below."""
    turns, scores = np.array([chunk.turn for chunk in order]), np.array([chunk.score for chunk in order])
    ranks = np.empty(len(order))
    for turn in np.unique(turns):
        own = scores[turns == turn]
        ranks[turns == turn] = (np.searchsorted(np.sort(own), own) + 0.5) / len(own)
    return ranks


def rates(found: Sequence[Sample], in_flight: int, orders: int) -> list[Figures]:
    """Every rule on the same ``orders``. The last one, online, is held to the bounds in every single run."""
    drawn = [served(found, in_flight, seed) for seed in range(orders)]
    rows = []
    for name, rule in RULES.items():
        decided = [(order, rule(order)) for order, _ in drawn]
        misses = np.array([missed(*run) for run in decided])
        ranks = [float(_ranks(order)[np.array(rejected)].mean()) for order, rejected in decided]
        rows.append(
            {
                "at most": in_flight or "adaptive",
                "under way": f"{np.mean([under_way for _, under_way in drawn]):.0f}",
                "rule": name,
                "rate": float(np.mean([np.mean(rejected) for _, rejected in decided])),
                "worst run": float(misses[:, 0].max()),
                "worst turn of a run": float(misses[:, 1].max()),
                "rank of the rejected": float(np.mean(ranks)),
                "reached": name != "online" or all(holds(*run) for run in decided),
            }
        )
    return rows
