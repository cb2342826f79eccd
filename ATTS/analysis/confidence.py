"""How much a confidence says of a sample's answer: calibration, and telling right from wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ATTS.analysis import intervals

BINS = 10
Values = NDArray[np.float64]


def quality(values: ArrayLike, right: ArrayLike, questions: ArrayLike) -> dict[str, Any]:
    """Of the samples that answered: the expected calibration error, raw and after isotonic regression; the area under
    the ROC curve over all samples; and that within a question, a mean over the questions that have right and wrong
    samples, with its 95 % interval over these. None where nothing can be said.

    The first area says whether easy questions are told from hard ones as well; only the second one helps a vote.
    """
    c, r, q = np.asarray(values, float), np.asarray(right, bool), np.asarray(questions)
    within = [area for one in np.unique(q) if (area := auroc(c[q == one], r[q == one])) is not None]
    mean = intervals.of_questions(within) if within else None
    return {
        "samples": len(c),
        "ece": ece(c, r) if len(c) else None,
        "ece_isotonic": ece(cross_fitted(c, r, q), r) if len(np.unique(q)) > 1 else None,
        "auroc": auroc(c, r),
        "auroc_within": mean.rate if mean else None,
        "within_low": mean.low if mean else None,
        "within_high": mean.high if mean else None,
        "mixed_questions": len(within),
    }


def describe(found: Mapping[str, Any]) -> str:
    """In a line."""

    def short(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    bounds = f"{short(found['within_low'])} - {short(found['within_high'])}"
    return (
        f"calibration error {short(found['ece'])}, {short(found['ece_isotonic'])} after isotonic regression on the"
        f" other half of the questions; AUROC {short(found['auroc'])}, within a question {short(found['auroc_within'])}"
        f" ({bounds}, 95 % over {found['mixed_questions']} questions with right and wrong samples)"
    )


def auroc(values: ArrayLike, right: ArrayLike) -> float | None:
    """The chance that a right sample has a higher value than a wrong one, ties counting half; None without both."""
    from scipy import stats

    c, r = np.asarray(values, float), np.asarray(right, bool)
    positive, negative = int(r.sum()), int((~r).sum())
    if not positive or not negative:
        return None
    ranks = stats.rankdata(c)
    return float((ranks[r].sum() - positive * (positive + 1) / 2) / (positive * negative))


def ece(values: ArrayLike, right: ArrayLike) -> float:
    """Expected calibration error in ten bins of equal width: the mean of |accuracy - confidence| over samples."""
    c, r = np.asarray(values, float), np.asarray(right, float)
    bins = np.minimum((c * BINS).astype(int), BINS - 1)
    gaps = [abs(float(r[bins == b].sum() - c[bins == b].sum())) for b in np.unique(bins)]
    return sum(gaps) / len(c)


def isotonic(values: ArrayLike, right: ArrayLike) -> tuple[Values, Values]:
    """The non-decreasing step function of the confidence that is nearest to right (1) and wrong (0): where it bends,
    in order, and its values there."""
    from scipy.optimize import isotonic_regression

    c, r = np.asarray(values, float), np.asarray(right, float)
    points, number, counts = np.unique(c, return_inverse=True, return_counts=True)
    means = np.bincount(number, weights=r) / counts
    return points, np.asarray(isotonic_regression(means, weights=counts).x)


def cross_fitted(values: ArrayLike, right: ArrayLike, questions: ArrayLike) -> Values:
    """Each confidence mapped by the isotonic regression on the other half of the questions, so that no question
    calibrates itself. Halves: every other question."""
    c, r, q = np.asarray(values, float), np.asarray(right, bool), np.asarray(questions)
    half = np.unique(q, return_inverse=True)[1] % 2 == 1
    fitted = np.empty_like(c)
    for own in (half, ~half):
        points, heights = isotonic(c[~own], r[~own])
        fitted[own] = np.interp(c[own], points, heights)
    return fitted
