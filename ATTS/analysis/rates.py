"""Rejection rates with 95 % intervals: of a run, of its turns and of its questions."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis.intervals import interval
from ATTS.analysis.run_decisions import Decisions, Rejected


class Rate(TypedDict):
    """A share of rejected decisions with its 95 % interval; ``n`` decisions."""

    n: int
    rate: float
    low: float
    high: float


class TurnRate(Rate):
    """Of one turn, over questions."""

    turn: int


class QuestionRate(Rate):
    """Of one question, over its samples."""

    question: int


class Audit(Rate):
    """The rate of a run under one calibration."""

    calibration: str
    nominal: float
    by_turn: list[TurnRate]
    by_question: list[QuestionRate]


def report(calibration: str, nominal: float, decisions: Decisions, rejected: Rejected) -> Audit:
    """Rates with 95 % intervals: overall and by turn over questions, within a question over its samples."""
    turns: list[TurnRate] = [
        {"turn": int(t), **_figures(rejected, decisions.question, decisions.turn == t)}
        for t in np.unique(decisions.turn)
    ]
    by_question: list[QuestionRate] = [
        {"question": int(q), **_figures(rejected, decisions.sample, decisions.question == q)}
        for q in np.unique(decisions.question)
    ]
    overall = _figures(rejected, decisions.question, np.ones(len(decisions), dtype=bool))
    return {"calibration": calibration, "nominal": nominal, **overall, "by_turn": turns, "by_question": by_question}


def _figures(rejected: Rejected, clusters: NDArray[np.int_], which: Rejected) -> Rate:
    estimate = interval(rejected[which], clusters[which])
    return {"n": estimate.n, "rate": estimate.rate, "low": estimate.low, "high": estimate.high}


def text(result: Audit) -> str:
    """The report as markdown."""
    rates = [row["rate"] for row in result["by_question"]]
    low, middle, high = np.quantile(rates, (0.05, 0.5, 0.95))
    lines = [
        f"calibration {result['calibration']}: {result['n']} decisions, asked {result['nominal']:.3f}, realised"
        f" {_range(result)} (95 %, over {len(rates)} questions)",
        f"rate of a question: 5th percentile {low:.2f}, median {middle:.2f}, 95th {high:.2f}",
        "",
        "| turn | decisions | rejected (95 %) |",
        "|---|---|---|",
        *(f"| {row['turn']} | {row['n']} | {_range(row)} |" for row in result["by_turn"]),
    ]
    return "\n".join(lines)


def _range(row: Rate) -> str:
    return f"{row['rate']:.3f} ({row['low']:.3f} - {row['high']:.3f})"
