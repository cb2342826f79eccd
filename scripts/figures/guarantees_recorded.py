"""Recorded runs judged again: whether each kind of calibration holds the rate on scores as they really come."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis import expected_rates
from ATTS.analysis.audit_rate import Rule, again
from ATTS.analysis.audit_rate import by_turn as sets_by_turn
from ATTS.analysis.run_decisions import Decisions
from ATTS.method.conformal import CalibrationSet, forms

Figures = dict[str, Any]
RATE = 0.4
WINDOW = 400
IN_FLIGHT = 20  # samples under way at once with the default limits


def halves(questions: NDArray[np.int_], splits: int, seed: int = 0) -> Iterator[NDArray[np.int_]]:
    """``splits`` random halves of the questions, every second one the other half of the one before: each
    question is calibrated with as often as it is tested, so that a mean over splits tells the rule's
    error and not the draw's."""
    rng = np.random.default_rng(seed)
    for number in range(splits):
        if number % 2 == 0:
            order = rng.permutation(questions)
            half = order[: len(order) // 2]
        else:
            half = order[len(order) // 2 :]
        yield half


INSIDE = 0.9  # of the splits: a 95 % interval, less what 70 questions let vary


def promised(calibration: Decisions, new: Decisions) -> tuple[float, float]:
    """The 95 % interval that the chunks of a set promise to those of other questions."""
    questions = len(np.unique(new.question))
    repeats = max(1, len(new) // questions)
    made = expected_rates.others(calibration.score, calibration.question, RATE, "published", questions, repeats)
    return made.interval(len(new))


def per_turn(made: Decisions, splits: int, seed: int = 0, calibration: Decisions | None = None) -> list[Figures]:
    """By turn: as recorded, and by sets fitted on half of the questions: how often the rate of the other half lies
    in the interval promised to it, and in the one for independent scores. ``calibration``: fitted on the chunks of
    that half in another run, which can't keep the promise if its scores are others. Turns with a set of their own."""
    from_run = made if calibration is None else calibration
    found: dict[int, list[tuple[float, bool, bool]]] = defaultdict(list)
    for half in halves(np.unique(made.question), splits, seed):
        fitted = from_run.take(np.isin(from_run.question, half))
        tested = made.take(~np.isin(made.question, half))
        judge = sets_by_turn(fitted, RATE)
        for turn in range(judge.own):
            new, old = tested.take(tested.turn == turn), fitted.take(fitted.turn == turn)
            if not len(new):
                continue
            rate = float(np.mean([judge(score, turn).rejected for score in new.score.tolist()]))
            low, high = promised(old, new)
            k = forms.threshold(len(old), RATE, "published")
            pooled = forms.realised_interval(len(old), k, len(new))
            found[turn].append((rate, low <= rate <= high, pooled[0] <= rate <= pooled[1]))
    return [
        {
            "turn": turn,
            "n": int((made.turn == turn).sum()),
            "questions": len(np.unique(made.question[made.turn == turn])),
            "splits": len(of_turn),
            "recorded": float(made.rejected[made.turn == turn].mean()),
            "per turn": float(np.mean([rate for rate, _, _ in of_turn])),
            "standard deviation of a split": float(np.std([rate for rate, _, _ in of_turn])),
            "inside": float(np.mean([inside for _, inside, _ in of_turn])),
            "inside, scores as independent": float(np.mean([pooled for _, _, pooled in of_turn])),
            "reached": float(np.mean([inside for _, inside, _ in of_turn])) >= INSIDE,
        }
        for turn, of_turn in sorted(found.items())
        if len(of_turn) >= splits / 2
    ]


def one_after_another(made: Decisions, seed: int | None = None) -> NDArray[np.int_]:
    """The decisions question by question, sample by sample: in recorded order, or with questions shuffled."""
    questions = np.unique(made.question)
    if seed is not None:
        questions = np.random.default_rng(seed).permutation(questions)
    place = np.argsort(questions)[np.searchsorted(np.sort(questions), made.question)]
    return np.lexsort((made.turn, made.sample, place))


def interleaved(made: Decisions, seed: int) -> NDArray[np.int_]:
    """The decisions as one queue makes them: repeat by repeat over questions in a drawn order, so many samples
    under way at once, each taking one turn after the other."""
    rng = np.random.default_rng(seed)
    place = {int(question): number for number, question in enumerate(rng.permutation(np.unique(made.question)))}
    chunks: dict[int, deque[int]] = defaultdict(deque)
    for number in np.lexsort((made.turn, made.sample)).tolist():
        chunks[int(made.sample[number])].append(number)
    repeat = {}
    for question in place:
        for number, sample in enumerate(np.unique(made.sample[made.question == question]).tolist()):
            repeat[sample] = (number, place[question])
    waiting = iter(sorted(chunks, key=repeat.__getitem__))
    under_way = deque(sample for _, sample in zip(range(IN_FLIGHT), waiting, strict=False))
    order = []
    while under_way:
        sample = under_way.popleft()
        order.append(chunks[sample].popleft())
        if chunks[sample]:
            under_way.append(sample)
        elif (following := next(waiting, None)) is not None:
            under_way.append(following)
    return np.array(order)


def worst_window(rejected: NDArray[np.bool_]) -> float:
    """The largest miss of the rate over any WINDOW decisions in a row."""
    sums = np.concatenate([[0], np.cumsum(rejected)])
    return float(np.abs((sums[WINDOW:] - sums[:-WINDOW]) / WINDOW - RATE).max())


def adaptive(made: Decisions, shuffles: int) -> Figures:
    """Overall rate and worst window, in recorded order and over ``shuffles`` shuffles of the questions."""
    orders = [one_after_another(made), *(one_after_another(made, seed) for seed in range(shuffles))]
    runs = [again(Rule("adaptive", RATE), made.take(order)) for order in orders]
    rates, windows = [float(run.mean()) for run in runs], [worst_window(run) for run in runs]
    miss, window = max(abs(rate - RATE) for rate in rates), max(windows)
    return {
        "recorded order": rates[0],
        "its worst window": windows[0],
        "shuffled, lowest": min(rates[1:]),
        "shuffled, highest": max(rates[1:]),
        "shuffled, worst window": max(windows[1:]),
        "reached": miss <= 0.01 and window <= 0.05,
    }


def online(made: Decisions, shuffles: int, cold: int = 300) -> Figures:
    """From cold, a bank and a level a turn: interleaved after the first ``cold`` scores; one question after another,
    beside the banks alone and one level for all turns."""
    queues = [made.take(interleaved(made, seed)) for seed in range(shuffles)]
    rates = np.array([float(again(Rule("online", RATE), queue)[cold:].mean()) for queue in queues])
    ordered = made.take(one_after_another(made))
    by_turn = float(again(Rule("online", RATE), ordered).mean())
    following = float(again(Rule("adaptive", RATE), ordered).mean())
    return {
        "interleaved, mean": float(rates.mean()),
        "interleaved, lowest": float(rates.min()),
        "interleaved, highest": float(rates.max()),
        "interleaved, share within 0.03": float((np.abs(rates - RATE) <= 0.03).mean()),
        "one question after another": by_turn,
        "the banks alone": float(again(Rule("online", RATE, gamma=0.0), ordered).mean()),
        "adaptive": following,
        "reached": bool(np.abs(rates - RATE).max() <= 0.03) and max(abs(by_turn - RATE), abs(following - RATE)) <= 0.02,
    }


def grouped(groups: Mapping[str, Sequence[NDArray[np.float64]]], splits: int, seed: int = 0) -> list[Figures]:
    """First chunks of several data sets, question by question, fitted on half of the questions of each and tested on
    the others: how often the rate lies in the interval promised to the group, with its own set and with one for all."""
    found: dict[str, list[tuple[float, float, bool, bool]]] = {name: [] for name in groups}
    chosen = {
        name: list(halves(np.arange(len(scores)), splits, seed + number))
        for number, (name, scores) in enumerate(groups.items())
    }
    for number in range(splits):
        fitted = {name: [scores[q] for q in chosen[name][number]] for name, scores in groups.items()}
        common = CalibrationSet(np.concatenate([own for scores in fitted.values() for own in scores]), RATE)
        for name, scores in groups.items():
            left = np.setdiff1d(np.arange(len(scores)), chosen[name][number])
            new = np.concatenate([scores[q] for q in left])
            own = np.concatenate(fitted[name])
            of = np.repeat(np.arange(len(fitted[name])), [len(chunks) for chunks in fitted[name]])
            low, high = expected_rates.others(
                own, of, RATE, "published", len(left), max(1, len(new) // len(left))
            ).interval(len(new))
            by_group, by_all = (
                float(np.mean([judge(score).rejected for score in new.tolist()]))
                for judge in (CalibrationSet(own, RATE), common)
            )
            found[name].append((by_group, by_all, low <= by_group <= high, low <= by_all <= high))
    return [
        {
            "group": name,
            "questions": len(groups[name]),
            **dict(
                zip(("grouped", "marginal", "inside", "inside, marginal"), np.mean(rows, axis=0).tolist(), strict=True)
            ),
            "reached": float(np.mean([row[2] for row in rows])) >= INSIDE,
        }
        for name, rows in found.items()
    ]
