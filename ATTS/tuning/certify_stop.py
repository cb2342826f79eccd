"""A threshold of a stop rule, certified: P(the stopped vote is wrong while the full vote is right) is bounded.

The thresholds are tested from the most cautious one on, up to the first that fails (fixed sequence), so together they
are wrong with probability 1 - confidence at most. The losses of a question are a mean over drawn orders of its samples:
one number a question, whatever its samples have in common (ATTS.tradeoff.betting).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from ATTS.analysis.tables import markdown, percent
from ATTS.analysis.voting import RIGHT
from ATTS.console import show
from ATTS.errors import UserError
from ATTS.flags import Part, Range
from ATTS.store import atomic
from ATTS.tradeoff import betting
from ATTS.tuning import replay
from ATTS.tuning.replay import Sample
from ATTS.votes.stop import StopRule, never, outcome, rule
from ATTS.votes.vote import Ballot

CAUTIOUS: dict[str, tuple[float, ...]] = {  # from the most cautious threshold on
    "beta": (0.99, 0.95, 0.9, 0.8),
    "asc": (1.0, 0.9, 0.8, 0.6),
    "esc": (8, 6, 4, 3, 2),
    "es": (0.95, 0.9, 0.8, 0.6),
}
COLUMNS = ("threshold", "lost, points", "at most", "p", "gained, points", "samples", "tokens", "certified")


class CertifyStopSettings(Part):
    """Flags of certify_stop."""

    run: Annotated[Path, tyro.conf.Positional]
    """Result folder or recording of a run with all samples (--stop none)."""

    stop: Literal["beta", "asc", "esc", "es"] = "beta"
    """The rule (docs/STOPPING.md)."""

    stop_thresholds: tuple[float, ...] = ()
    """To choose from, in any order; some of each rule's own where none are given."""

    max_loss: Annotated[float, Range(0, 1, open_high=True)] = 0.02
    """Share of questions, in expectation, whose stopped vote may be wrong while the vote of all samples is right."""

    confidence: Annotated[float, Range(0.5, 1, open_high=True)] = 0.9
    """With which the certificate holds."""

    dataset_name: str | None = None
    """Where the references are, if the samples don't hold them."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    output: Path | None = None
    """A JSON file for what is in the table."""


@dataclass(frozen=True)
class Tried:
    """A threshold on the questions of a run; ``lost``, ``gained``: means over the questions, ``bound``: of ``lost``."""

    threshold: float
    lost: float
    bound: float
    p_value: float
    gained: float
    samples: float
    tokens: float  # share of all that the samples of a question have, its mean over questions
    certified: bool = False


async def certify_stop(settings: CertifyStopSettings) -> str:
    """The table and the flags that use the boldest certified threshold. Raises UserError, also where none is."""
    s = settings
    thresholds = sorted(s.stop_thresholds or CAUTIOUS[s.stop], reverse=True)
    try:
        rules = [rule(s.stop, threshold) for threshold in thresholds]
    except ValueError as error:
        raise UserError(str(error)) from None
    run = replay.read(s.run, s.dataset_name, None, s.data_dir)
    if run.repeats < 2:
        raise UserError(f"{s.run} has one sample of a question: nothing can stop there")
    if s.stop == "es" and any(one.confidence is None for samples in run.questions.values() for one in samples):
        raise UserError(f"{s.run} holds samples without a confidence, which --stop es goes by (--confidence)")
    level = 1 - s.confidence
    measured = [of_questions(run.questions, run.repeats, one) for one in rules]
    tried = [
        Tried(
            threshold=threshold,
            lost=float(lost.mean()),
            bound=max(0.0, betting.upper_bound(lost, level)),
            p_value=betting.p_value(lost, s.max_loss, level),
            gained=float(gained.mean()),
            samples=float(used.mean()),
            tokens=float(share.mean()),
        )
        for threshold, (lost, gained, used, share) in zip(thresholds, measured, strict=True)
    ]
    passed = betting.passed([[one.p_value for one in tried]], level)[0]
    tried = [Tried(**{**asdict(one), "certified": place < passed}) for place, one in enumerate(tried)]
    if s.output is not None:
        rows = [asdict(one) for one in tried]
        report = {"run": str(s.run), "stop": s.stop, "max_loss": s.max_loss, "confidence": s.confidence, "tried": rows}
        atomic.write(
            s.output, atomic.as_json({**report, "questions": len(run.questions), "repeats": run.repeats}, False)
        )
    text = markdown(COLUMNS, [_row(one) for one in tried])
    if not passed:
        show(text)
        raise UserError(_nothing(tried[0], measured[0][0], s))
    best = tried[passed - 1]
    return (
        f"{text}\n\nOn other such questions with {run.repeats} samples each at most {100 * s.max_loss:g} of 100 stopped"
        f" votes are wrong where the full vote is right\n({100 * s.confidence:g} % confidence, {len(run.questions)}"
        f" questions, samples in any order):\n\n    --stop {s.stop} --stop_threshold {best.threshold:g}"
    )


def of_questions(
    questions: Mapping[int, Sequence[Sample]], repeats: int, by: StopRule, orders: int = replay.ORDERS
) -> tuple[NDArray[np.float64], ...]:
    """For every question the shares of drawn orders in which the stopped vote loses what the full one has and the other
    way round, the samples used, and the share of tokens used. Of answers that tie, the one seen first wins."""
    found = []
    for number, samples in questions.items():
        ballots = [Ballot(s.vote, s.confidence) for s in samples]
        tokens = np.array([sum(s.tokens(len(s.turns))) for s in samples], dtype=np.float64)
        sums = np.zeros(4)
        for drawn in replay.drawn_orders(number, len(samples), orders):
            order = drawn[:repeats]
            said = [ballots[i] for i in order]
            early = outcome(by, said)
            right, full = early.answer == RIGHT, outcome(never, said).answer == RIGHT
            whole = tokens[order].sum()
            share = tokens[order[: early.used]].sum() / whole if whole else 1.0
            sums += (full and not right, right and not full, early.used, share)
        found.append(sums / orders)
    return tuple(np.array(found).T)


def _row(one: Tried) -> tuple[str, ...]:
    return (
        f"{one.threshold:g}",
        f"{100 * one.lost:.2f}",
        f"{100 * one.bound:.1f}",
        f"{one.p_value:.3f}",
        f"{100 * one.gained:.2f}",
        f"{one.samples:.1f}",
        percent(one.tokens),
        "yes" if one.certified else "no",
    )


def _nothing(first: Tried, losses: NDArray[np.float64], s: CertifyStopSettings) -> str:
    text = (
        f"nothing can be certified: at most {100 * s.max_loss:g} points with {100 * s.confidence:g} % confidence on"
        f" these {len(losses)} questions. The most cautious threshold, {first.threshold:g}, lost {100 * first.lost:.2f}"
    )
    if first.lost >= s.max_loss:
        return f"{text}, which no number of questions helps: allow a greater --max_loss or give a higher threshold"
    needed = betting.questions_needed(losses, s.max_loss, 1 - s.confidence)
    count = f"about {needed}" if needed else f"more than {betting.MOST}"
    return f"{text}; with losses like its own it takes {count} questions"
