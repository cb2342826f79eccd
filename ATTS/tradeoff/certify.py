"""A setting chosen for an accuracy: the cheapest whose expected loss to the target is at most so much, certified."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from ATTS.analysis.tables import markdown, percent
from ATTS.console import show
from ATTS.errors import UserError
from ATTS.flags import Part, Range
from ATTS.store import certificate, provenance
from ATTS.store.certificate import Certificate
from ATTS.tradeoff import betting, operating_points
from ATTS.tradeoff.operating_points import Point, Points

LEARNING = ("online", "adaptive")
RATE = ("rejection_rate", "budget")  # what a chain of settings differs in
SHOWN = 5  # questions named in a message
COLUMNS = ("setting", "rate", "loss seen, points", "at most", "p", "cost", "certified")


class CertifySettings(Part):
    """Flags of certify."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result folders of the same graded questions, or a folder of them (of frontier): one of the target alone, the
    others of the settings to choose from."""

    max_loss: Annotated[float, Range(0, 1, open_high=True)] = 0.02
    """Share of samples that may be right less often than with the target, in expectation."""

    confidence: Annotated[float, Range(0.5, 1, open_high=True)] = 0.9
    """With which the certificate holds."""

    procedure: Literal["fixed_sequence", "bonferroni"] = "fixed_sequence"
    """How several settings share the error. fixed_sequence: those that differ in the rate only are tested from the
    highest rate (the most of the target's work) on, up to the first that fails. bonferroni: each on its own."""

    cost: Literal["tokens", "seconds"] = "tokens"
    """What the cheapest of the certified settings has least of: tokens that the target wrote, or wall seconds."""

    output: Path = Path("certificate.json")
    """The certificate, for ref_async --certificate."""


@dataclass(frozen=True)
class Tried:
    """A setting and what its losses say, at its chain's part of the error. ``reached``: no setting before it failed."""

    point: Point
    losses: list[float]
    cost: float
    level: float
    p_value: float
    bound: float
    reached: bool = False
    certified: bool = False

    @property
    def loss(self) -> float:
        """The mean loss over the questions."""
        return float(np.mean(self.losses))

    def row(self) -> dict[str, Any]:
        """As in the certificate."""
        return {
            "setting": self.point.name,
            "rejection_rate": self.point.settings.get("rejection_rate"),
            "loss": self.loss,
            "bound": self.bound,
            "p_value": self.p_value,
            "cost": self.cost,
            "certified": self.certified,
        }


async def certify(settings: CertifySettings) -> str:
    """Writes the certificate and returns the table with the command that uses it. Raises UserError, also where
    nothing can be certified."""
    s = settings
    points = operating_points.read(s.runs)
    for point in points.others:
        _check(point, points)
    tried = choose(points, s)
    text = _table(tried)
    passed = [one for one in tried if one.certified]
    if not passed:
        show(text)
        raise UserError(_nothing(tried, s))
    best = min(passed, key=lambda one: one.cost)
    promised = _certificate(best, tried, points, s)
    certificate.save(s.output, promised)
    return (
        f"{text}\n\n{best.point.name}: {promised.promise},\nat {percent(promised.cost)} of the target's {s.cost}:\n\n"
        + (f"    {_command(promised, s.output)}")
    )


def choose(points: Points, s: CertifySettings) -> list[Tried]:
    """Every setting, tested, chain by chain. The order within a chain is that of the rates asked for, not of measured
    cost, which would depend on the losses. Raises UserError."""
    chains = _chains(points.others, s.procedure)
    level = 1 - s.confidence
    tried = [[_tried(point, points, s, level / len(chains)) for point in chain] for chain in chains]
    counts = betting.passed([[one.p_value for one in chain] for chain in tried], level)
    return [
        dataclasses.replace(one, reached=place <= count, certified=place < count)
        for chain, count in zip(tried, counts, strict=True)
        for place, one in enumerate(chain)
    ]


def _chains(points: Sequence[Point], procedure: str) -> list[list[Point]]:
    chains: dict[str, list[Point]] = {}
    for point in points:
        kept = {name: value for name, value in point.decisive.items() if name not in RATE}
        name = provenance.digest(kept | {"kind": point.kind})
        chains.setdefault(point.name if procedure == "bonferroni" else name, []).append(point)
    ordered = [sorted(chain, key=lambda p: -float(p.settings.get("rejection_rate", 0))) for chain in chains.values()]
    for chain in ordered:
        for one, two in itertools.pairwise(chain):
            if one.settings.get("rejection_rate") == two.settings.get("rejection_rate"):
                raise UserError(f"{one.path} and {two.path} are of the same settings: give one of them")
    return ordered


def _tried(point: Point, points: Points, s: CertifySettings, level: float) -> Tried:
    losses = points.losses(point)
    p = betting.p_value(losses, s.max_loss, level)
    bound = betting.upper_bound(losses, level)
    return Tried(point, losses, _cost(point, points.target, s.cost), level, p, bound)


def _cost(point: Point, target: Point, what: str) -> float:
    """As a part of the target's. Raises UserError where a clock is missing."""
    if what == "tokens":
        return point.cost.target_written / target.cost.target_written
    for one in (point, target):
        if one.cost.wall_seconds is None:
            raise UserError(
                f"{one.path} was resumed, so its clock saw only a part of it: use --cost tokens, or run it again"
            )
    assert point.cost.wall_seconds is not None
    assert target.cost.wall_seconds is not None
    return point.cost.wall_seconds / target.cost.wall_seconds


def _check(point: Point, points: Points) -> None:
    """The losses of a setting's questions must tell of other questions. Raises UserError."""
    if point.command not in ("ref_async", "ref_async_per_question"):
        raise UserError(f"{point.path} was made by {point.command}; certificates are for ref_async: leave it out")
    if point.kind in LEARNING:
        raise UserError(
            f"{point.path} decides by the questions that came before (--calibration {point.kind}), so a certificate"
            " would not be about other questions: leave it out"
        )
    if point.settings.get("stop", "none") != "none":
        raise UserError(
            f"{point.path} left samples out by the answers of others (--stop {point.settings['stop']}), so its samples"
            " don't tell their expected accuracy: leave it out"
        )
    shared = set(points.ids) & set((point.calibration or {}).get("question_ids", ()))
    if shared and point.kind != "per_question":
        raise UserError(
            f"{point.path} was calibrated on {len(shared)} of its own questions, so it behaves otherwise on others:"
            " calibrate on questions of their own (--calibration_split)"
        )


def _certificate(best: Tried, tried: Sequence[Tried], points: Points, s: CertifySettings) -> Certificate:
    point = best.point
    return Certificate(
        max_loss=s.max_loss,
        confidence=s.confidence,
        procedure=s.procedure,
        loss=best.loss,
        bound=best.bound,
        p_value=best.p_value,
        cost=best.cost,
        cost_in=s.cost,
        n=len(best.losses),
        command=point.command,
        settings=point.decisive | {"kind": point.kind},
        calibration={"path": point.settings.get("ppl_array_path"), "digest": point.digest},
        question_ids=points.ids,
        tried=[one.row() for one in tried],
    )


def _table(tried: Sequence[Tried]) -> str:
    rows = [
        (
            one.point.name,
            f"{one.point.settings.get('rejection_rate', 0):g}",
            f"{100 * one.loss:+.1f}",
            f"{100 * one.bound:+.1f}",
            f"{one.p_value:.3f}",
            percent(one.cost),
            "yes" if one.certified else "no",
        )
        for one in tried
    ]
    return markdown(COLUMNS, rows)


def _nothing(tried: Sequence[Tried], s: CertifySettings) -> str:
    """Which setting was nearest, of those at which a chain ended, and how many questions it would take."""
    nearest = min((one for one in tried if one.reached), key=lambda one: (one.p_value, one.loss))
    text = (
        f"nothing can be certified: at most {100 * s.max_loss:g} points of loss with {100 * s.confidence:g} %"
        f" confidence, on these {len(nearest.losses)} questions. The nearest, {nearest.point.name}, was seen to lose"
        f" {100 * nearest.loss:+.1f} points"
    )
    if nearest.loss >= s.max_loss:
        return f"{text}, which no number of questions helps: allow a greater --max_loss, or try settings that lose less"
    needed = betting.questions_needed(nearest.losses, s.max_loss, nearest.level)
    count = f"about {needed}" if needed else f"more than {betting.MOST}"
    return f"{text}; with losses like its own it takes {count} questions"


def _command(certificate: Certificate, path: Path) -> str:
    s = certificate.settings
    return (
        f"python -m ATTS.{certificate.command} --certificate {path} --small_model_name {s['small_model_name']}"
        f" --eval_model_name {s['eval_model_name']} --dataset_name OTHER_QUESTIONS"
    )
