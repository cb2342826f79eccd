"""The rejection rate of a finished run, and what other calibrations would have given on the same scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ATTS.analysis import audit_picture, rates, run_decisions
from ATTS.analysis.run_decisions import Decisions, Rejected
from ATTS.errors import UserError
from ATTS.flags import Part, Positive, Share, require
from ATTS.method.conformal import GAMMA, CalibrationSet, Form, Online, PerTurn, RejectionRule
from ATTS.method.conformal.decision import Draws
from ATTS.method.score import MEAN
from ATTS.store import calibration
from ATTS.store.calibration import CalibrationArray
from ATTS.store.records import Record

Kind = Literal["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"]


@dataclass(frozen=True)
class Rule:
    """A way to decide."""

    kind: Kind
    rate: float = 0.4
    form: Form = "published"
    gamma: float = GAMMA
    window: int = 0
    seed: int = 0


def again(
    rule: Rule, decisions: Decisions, array: CalibrationArray | None = None, rows: Mapping[int, int] | None = None
) -> Rejected:
    """What ``rule`` would have decided on each chunk.

    A kind that needs calibration scores takes them from ``array`` (``rows``: which of its rows belongs to
    which question), else from the run itself, the chunk's own question left out; per question, the
    chunk's own sample. The chunks stay what they were: what other decisions would have let the models
    write is not in a record. Raises ValueError if the scores can't support the rate.
    """
    if rule.kind in ("online", "adaptive"):
        return _decide(_bank(rule, array), decisions)
    if rule.kind == "grouped" and not decisions.group.any():
        raise ValueError("its samples tell no group")
    draws = Draws(rule.seed) if rule.form == "smoothed" else None
    rejected = np.zeros(len(decisions), dtype=bool)
    if rule.kind == "per_question":
        units = decisions.sample if array is None else decisions.question
    elif array is None:
        units = decisions.question
    else:
        units = np.unique(decisions.group, return_inverse=True)[1]
    for unit in np.unique(units):
        own = units == unit
        chunks = decisions.take(own)
        judge = _fitted(rule, chunks, array, rows, draws) if array else _cross_fitted(rule, decisions, own, draws)
        rejected[own] = _decide(judge, chunks)
    return rejected


def _bank(rule: Rule, array: CalibrationArray | None) -> Online:
    bank = Online(rule.rate, rule.seed, rule.window, rule.gamma, by_turn=rule.kind == "online")
    if array is not None:
        bank.start(array.scores, array.turns)
    return bank


def _cross_fitted(rule: Rule, decisions: Decisions, own: Rejected, draws: Draws | None) -> RejectionRule:
    """The judge of the chunks ``own``, from chunks that are not among them."""
    first = int(np.flatnonzero(own)[0])
    like = ~own
    if rule.kind == "per_turn":
        others = decisions.take(like)
        return by_turn(others, rule.rate, rule.form, draws)
    like &= decisions.turn == 0
    if rule.kind == "per_question":
        like &= decisions.question == decisions.question[first]
    if rule.kind == "grouped":
        like &= decisions.group == decisions.group[first]
    return CalibrationSet(decisions.score[like], rule.rate, rule.form, draws)


def by_turn(decisions: Decisions, rate: float, form: Form = "published", draws: Draws | None = None) -> PerTurn:
    """Sets of the scores of these chunks."""
    turns = [int(turn) for turn in np.unique(decisions.turn)]
    scores = {turn: decisions.score[decisions.turn == turn] for turn in turns}
    return PerTurn(scores, rate, form, draws, {turn: decisions.question[decisions.turn == turn] for turn in turns})


def _fitted(
    rule: Rule, own: Decisions, array: CalibrationArray, rows: Mapping[int, int] | None, draws: Draws | None
) -> RejectionRule:
    """The judge of the chunks ``own``, from an array."""
    if rule.kind == "per_turn":
        return PerTurn(array.by_turn, rule.rate, rule.form, draws, array.questions_by_turn)
    scores = array.scores
    if rule.kind == "per_question":
        question = int(own.question[0])
        row = question if rows is None else rows.get(question, len(scores))
        if row >= len(scores):
            raise ValueError(f"it has no scores for question {question}")
        scores = array.of_row(row)
    elif rule.kind == "grouped":
        group = str(own.group[0])
        if group not in array.by_group:
            raise ValueError(f"it has no scores of the group {group!r}")
        scores = array.by_group[group]
    return CalibrationSet(scores, rule.rate, rule.form, draws)


def _decide(judge: RejectionRule, decisions: Decisions) -> Rejected:
    pairs = zip(decisions.score.tolist(), decisions.turn.tolist(), strict=True)
    return np.array([judge(score, turn).rejected for score, turn in pairs], dtype=bool)


def recorded_kind(about: Mapping[str, Any]) -> str:
    """How a run was calibrated, by its settings.json; a published run doesn't tell."""
    if not about:
        return "recorded"
    settings = about["settings"]
    if settings.get("takeover") == "random":
        return "random"
    if "per_question" in about["command"]:
        return "per_question"
    return settings.get("calibration") or "marginal"


def same_score(path: Path, array: CalibrationArray, about: Mapping[str, Any]) -> None:
    """Raises UserError if an array's chunks were scored in another way than the run's."""
    settings = about.get("settings", {})
    scored = _named(array.score.name, array.score_window)
    decided = _named(settings.get("score", MEAN.name), settings.get("score_window"))
    if scored != decided:
        raise UserError(f"{path} holds scores of {scored}; this run was decided by {decided}")


def _named(score: str, window: int | None) -> str:
    return f"--score {score}" + (f" --score_window {window}" if window else "")


def rows_of(array: CalibrationArray, samples: Sequence[Record]) -> dict[int, int] | None:
    """Which row of a per-question array belongs to which question, by content; None if one doesn't tell."""
    ids = (array.provenance or {}).get("question_ids")
    if not ids or any("question_id" not in sample for sample in samples):
        return None
    number = {name: row for row, name in enumerate(ids)}
    rows = {sample["question_index"]: number.get(sample["question_id"]) for sample in samples}
    return {question: row for question, row in rows.items() if row is not None}


class AuditSettings(Part):
    """Flags of audit_rate."""

    input_dir: Path
    """A result folder, this project's or a published one, or a recording (.jsonl, .jsonl.gz)."""

    calibration: Literal["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"] | None = None
    """What this kind of calibration would have decided on the same scores; default: what was decided."""

    ppl_array_path: Path | None = None
    """Calibration array; default: the run's own scores, each chunk's question left out (per_question: its sample)."""

    rejection_rate: Share[float | None] = None
    """The rate that was asked for; default: the run's own, else 0.4."""

    repeats: Positive[int | None] = None
    """Samples of every question; default: the run's own, else 16."""

    p_value: Literal["published", "bounded", "smoothed"] | None = None
    """How a score's rank becomes a decision (as in ref_async)."""

    gamma: Share[float | None] = None
    """online, adaptive: how far a level moves after a decision; default 1/19. 0: not at all."""

    bank_window: Positive[int | None] = None
    """online, adaptive: compare with the newest N scores of the turn; default: all."""

    seed: int = 0
    """Draws for smoothed p-values."""

    picture: Path | None = None
    """Draw the rates by turn and by question into this file (.svg, .png, .pdf)."""

    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        learns = self.calibration in ("online", "adaptive")
        require(learns or self.bank_window is None, "--bank_window is for --calibration online and adaptive")
        require(learns or self.gamma is None, "--gamma is for --calibration online and adaptive")
        require(not learns or self.p_value in (None, "smoothed"), f"--calibration {self.calibration} smooths p-values")
        require(
            self.calibration is not None or self.p_value is None,
            "--p_value is for another --calibration: without one, what was decided is told",
        )
        needs = self.ppl_array_path is None or self.calibration not in (None, "online")
        require(needs, "--ppl_array_path is for --calibration marginal, per_question, per_turn, grouped and adaptive")


async def audited(settings: AuditSettings) -> str:
    """The audit of a run as text or JSON. Raises UserError."""
    records, about, repeats = run_decisions.read(settings.input_dir, settings.repeats)
    rate = settings.rejection_rate
    if rate is None:
        rate = about.get("settings", {}).get("rejection_rate", 0.4)
    decided = run_decisions.decisions(records, repeats)
    kind, rejected = recorded_kind(about), decided.rejected
    if settings.calibration:
        kind = settings.calibration
        form, gamma = settings.p_value or "published", GAMMA if settings.gamma is None else settings.gamma
        rule = Rule(kind, rate, form, gamma, settings.bank_window or 0, settings.seed)
        array = rows = None
        if settings.ppl_array_path:
            per_question = None if kind == "adaptive" else kind == "per_question"
            array = calibration.load(settings.ppl_array_path, per_question, kind == "per_turn")
            same_score(settings.ppl_array_path, array, about)
            rows = rows_of(array, records)
        try:
            rejected = again(rule, decided, array, rows)
        except ValueError as error:
            raise UserError(f"{settings.ppl_array_path or settings.input_dir}: {error}") from None
    result = rates.report(kind, rate, decided, rejected)
    if settings.picture:
        audit_picture.draw(result, settings.picture)
    return json.dumps(result, indent=1) if settings.json else rates.text(result)
