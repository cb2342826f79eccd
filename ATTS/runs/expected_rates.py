"""What a calibration set can promise, said before any work, with a warning if that is little."""

import math

from numpy.typing import ArrayLike

from ATTS.analysis.intervals import promise
from ATTS.analysis.tables import percent
from ATTS.console import say
from ATTS.method.conformal import PerTurn, forms
from ATTS.runs.settings import AsyncSettings
from ATTS.store.calibration import CalibrationArray, Scores

TOO_WIDE = 0.1  # half of a 95 % interval


def first_chunks(settings: AsyncSettings, array: CalibrationArray, questions: int, group: str | None = None) -> None:
    """Of a marginal array's scores, or of those of a group of questions."""
    which = slice(None) if group is None else array.groups == group
    what = "the first chunks" + (f" in group {group!r}" if group else "")
    _say(settings, array.scores[which], array.clusters(settings.rule.sample_size)[which], questions, what)


def by_turn(settings: AsyncSettings, array: CalibrationArray, judge: PerTurn, questions: int) -> None:
    assert array.turns is not None
    assert array.questions is not None
    first = array.turns == 0
    _say(settings, array.scores[first], array.questions[first], questions, "the first chunks")
    shared = len(judge.of(judge.own))
    say(f"the first {judge.own} turns have a calibration set each, later ones share one of {shared} scores")


def of_a_question(settings: AsyncSettings, n: int) -> None:
    k = forms.threshold(n, settings.scoring.rejection_rate, "published")
    low, high = forms.realised_interval(n, k, 0)
    say(
        f"{n} scores a question: a question's expected rate is a multiple of 1/{n + 1}, here"
        f" {percent(forms.expected_rate(n, k))}; its true one lies between {percent(low)} and {percent(high)} (95 %)"
    )


def _say(settings: AsyncSettings, scores: Scores, clusters: ArrayLike, questions: int, what: str) -> None:
    rate = settings.scoring.rejection_rate
    made = promise(scores, clusters, rate, questions * settings.samples.repeats)
    say(
        f"{made.scores} calibration scores of {made.clusters} questions, worth {made.worth:.0f} independent ones: of"
        f" {what} of {questions} such questions {percent(made.low)} to {percent(made.high)} will be rejected (95 %)"
    )
    if made.half_width > TOO_WIDE:
        more = math.ceil(made.clusters * (made.half_width / TOO_WIDE) ** 2)
        say(
            f"warning: that holds {percent(rate)} only within {percent(made.half_width)}; for"
            f" {percent(TOO_WIDE)} about {more} questions are needed, to calibrate and in the run"
        )
