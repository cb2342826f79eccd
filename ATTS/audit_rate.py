"""Audit the rejection rate of a finished run: overall, by turn and by question, with intervals.

python -m ATTS.audit_rate --input_dir results/... [--calibration per_turn] [--json]
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.method.conformal import GAMMA
from ATTS.problem import Problem
from ATTS.runs import audit, calibration, cli
from ATTS.runs.audit import Rule
from ATTS.runs.settings.parts import require


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Flags of audit_rate."""

    input_dir: Path
    """A result folder, this project's or a published one, or a recording (.jsonl, .jsonl.gz)."""

    calibration: Literal["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"] | None = None
    """What this kind of calibration would have decided on the same scores; default: what was decided."""

    ppl_array_path: Path | None = None
    """Calibration array; default: the run's own scores, each chunk's question left out (per_question: its sample)."""

    rejection_rate: float | None = None
    """The rate that was asked for; default: the run's own, else 0.4."""

    repeats: int | None = None
    """Samples of every question; default: the run's own, else 16."""

    p_value: Literal["published", "bounded", "smoothed"] = "published"
    """How a score's rank becomes a decision (as in ref_async)."""

    gamma: float = GAMMA
    """adaptive: how far the level moves after a decision."""

    bank_window: int = 0
    """online, adaptive: compare with the newest so many scores of the turn; 0 = all."""

    seed: int = 0
    """Draws for smoothed p-values."""

    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        require(self.rejection_rate is None or 0 < self.rejection_rate < 1, "--rejection_rate must lie in (0, 1)")
        require(self.repeats is None or self.repeats >= 1, "--repeats must be at least 1")
        require(0 < self.gamma <= 1, "--gamma must lie in (0, 1]")
        require(self.bank_window >= 0, "--bank_window must not be negative")
        needs = self.ppl_array_path is None or self.calibration not in (None, "online")
        require(needs, "--ppl_array_path is for --calibration marginal, per_question, per_turn, grouped and adaptive")


async def audited(settings: AuditSettings) -> str:
    found, about, repeats = audit.read(settings.input_dir, settings.repeats)
    rate = settings.rejection_rate or about.get("settings", {}).get("rejection_rate", 0.4)
    decisions = audit.decisions(found, repeats)
    kind, rejected = audit.recorded_kind(about), decisions.rejected
    if settings.calibration:
        kind = settings.calibration
        rule = Rule(kind, rate, settings.p_value, settings.gamma, settings.bank_window, settings.seed)
        array = rows = None
        if settings.ppl_array_path:
            per_question = None if kind == "adaptive" else kind == "per_question"
            array = calibration.load(settings.ppl_array_path, per_question, kind == "per_turn")
            rows = audit.rows_of(array, found)
        try:
            rejected = audit.again(rule, decisions, array, rows)
        except ValueError as error:
            raise Problem(f"{settings.ppl_array_path or settings.input_dir}: {error}") from None
    result = audit.report(kind, rate, decisions, rejected)
    return json.dumps(result, indent=1) if settings.json else audit.text(result)


if __name__ == "__main__":
    cli.run(AuditSettings, __doc__, audited)
