"""What a calibration set can promise, said before any work, with a warning if that is little."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis import expected_rates
from ATTS.analysis.tables import percent
from ATTS.console import say
from ATTS.method.conformal import Form, PerTurn, forms
from ATTS.runs.settings import AsyncSettings
from ATTS.store.array_file import Scores
from ATTS.store.calibration import CalibrationArray
from ATTS.tasks.datasets import Question

TOO_WIDE = 0.1  # half of a 95 % interval


def first_chunks(
    settings: AsyncSettings, array: CalibrationArray, questions: Sequence[Question], group: str | None = None
) -> None:
    """Of a marginal array's scores, or of those of a group of questions."""
    rows = array.clusters(settings.rule.sample_size)
    ids = (array.provenance or {}).get("question_ids")
    if group is None:
        _say(settings, array.scores, rows, ids, questions, "the first chunks")
        return
    own = array.groups == group
    questions = [question for question in questions if question.group == group]
    _say(settings, array.scores[own], rows[own], ids, questions, f"the first chunks in group {group!r}")


def later_turns(settings: AsyncSettings) -> None:
    """Of an array of first chunks, which stand for all chunks of a run."""
    if settings.most_turns > 1 and settings.scoring.rejection_rate not in (0, 1):
        say(
            "later turns are not calibrated: the array holds first chunks only, so what share of later ones will be"
            " rejected is not known; --calibration per_turn calibrates every turn"
        )


def by_turn(settings: AsyncSettings, array: CalibrationArray, judge: PerTurn, evaluated: Sequence[Question]) -> None:
    """Says before a run what its first turns may come to, and which turns share scores."""
    assert array.turns is not None
    assert array.questions is not None
    first = array.turns == 0
    ids = (array.provenance or {}).get("question_ids")
    _say(settings, array.scores[first], array.questions[first], ids, evaluated, "the first chunks")
    shared = len(judge.of(judge.own))
    say(f"the first {judge.own} turns have a calibration set each, later ones share one of {shared} scores")


def of_a_question(settings: AsyncSettings, n: int) -> None:
    """Says before a run what rate ``n`` scores of a question give, and how far one question may be from it."""
    form = settings.rule.p_value or "published"
    low, high = question_interval(n, settings.scoring.rejection_rate, form)
    if form == "smoothed":
        rate = f"a question's expected rate is {percent(settings.scoring.rejection_rate)}"
    else:
        k = forms.threshold(n, settings.scoring.rejection_rate, form)
        rate = f"a question's expected rate is a multiple of 1/{n + 1}, here {percent(forms.expected_rate(n, k))}"
    say(f"{n} scores a question: {rate}; its true one lies between {percent(low)} and {percent(high)} (95 %)")


def question_interval(n: int, rate: float, form: Form) -> tuple[float, float]:
    """Of a question's rate in the long run, by its n own scores. Smoothed p-values decide by one of two
    neighbouring ranks, so theirs reaches over both."""
    if form != "smoothed":
        return forms.realised_interval(n, forms.threshold(n, rate, form), 0)
    k = (1 - rate) * (n + 1)
    low, high = (forms.realised_interval(n, rank, 0) for rank in (math.ceil(k), math.floor(k)))
    return low[0], high[1]


def _say(
    settings: AsyncSettings,
    scores: Scores,
    rows: NDArray[np.int_],
    ids: Sequence[str] | None,
    questions: Sequence[Question],
    what: str,
) -> None:
    """``rows`` says to which question a score belongs, ``ids`` which question that is, by content."""
    form, rate, repeats = (
        settings.rule.p_value or "published",
        settings.scoring.rejection_rate,
        settings.samples.repeats,
    )
    if rate in (0, 1):
        say(f"of {what} {'none' if rate == 0 else 'all'} will be rejected: at this rate scores decide nothing")
        return
    number = {name: row for row, name in enumerate(ids or ())}
    own = {number[question.id] for question in questions if question.id in number} & set(rows.tolist())
    count, calibrated = len(questions), len(np.unique(rows))
    foreign = count - len(own)
    parts = []
    if own:
        parts.append((len(own), expected_rates.same(scores, rows, rate, form, repeats, sorted(own))))
    if foreign:
        parts.append((foreign, expected_rates.others(scores, rows, rate, form, foreign, repeats)))
    expected = expected_rates.mixed(parts)
    low, high = expected.interval(count * repeats)
    which = f"{count} other such questions" if foreign == count else f"these {count} questions"
    if own and foreign:
        which += f", {len(own)} of them calibrated on,"
    say(
        f"{len(scores)} calibration scores of {calibrated} questions, worth {expected.worth:.0f} independent ones: of"
        f" {what} of {which} {percent(low)} to {percent(high)} will be rejected (95 %;"
        f" {percent(expected.mean)} expected)"
    )
    if ids is None:
        bounds = expected_rates.same(scores, rows, rate, form, repeats).interval(calibrated * repeats)
        say(f"if they are the questions that it was calibrated on: {percent(bounds[0])} to {percent(bounds[1])}")
    half_width = (high - low) / 2
    if half_width > TOO_WIDE:
        more = math.ceil(calibrated * (half_width / TOO_WIDE) ** 2)
        say(
            f"warning: that holds {percent(rate)} only within {percent(half_width)}; for {percent(TOO_WIDE)} about"
            f" {more} questions are needed, to calibrate and in the run"
        )
