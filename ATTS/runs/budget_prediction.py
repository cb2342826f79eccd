"""Does the threshold hit the budget? Asked, expected and realised rejections, question by question.

Counted from the finished samples, when a question is done; nothing is counted while it runs.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from ATTS.analysis import intervals, run_decisions
from ATTS.analysis.tables import markdown, percent
from ATTS.errors import UserError
from ATTS.flags import require, settle
from ATTS.method.conformal import forms
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.parts import Chains
from ATTS.runs.settings import AsyncSettings, Rule
from ATTS.store import atomic, calibration
from ATTS.store.calibration import COUNTS
from ATTS.store.records import Record
from ATTS.store.result_folder import SETTINGS, read_summary

BUDGET = "budget.json"


class BudgetRule(Rule):
    """What decides that the target takes over."""

    takeover_budget: int = 4
    """Chunks to hand to the target of the --repeats of a question: the rejection rate is budget / repeats.
    A mean over questions; with --budget_kind bound also the most of any question at a turn."""

    percentile_threshold: float | None = None
    """The percentile from which on the target takes over; default: 1 - budget / repeats."""

    def __post_init__(self) -> None:
        require(self.certificate is None, "--certificate is for ref_async and ref_async_per_question")
        super().__post_init__()
        threshold = self.percentile_threshold
        require(threshold is None or 0 <= threshold <= 1, "--percentile_threshold must lie between 0 and 1")
        fixed = self.as_published and self.takeover == "score"
        require(fixed, "budget prediction is about the published rule on an array")

    @property
    def granted(self) -> int:
        """The take-overs a question may have at each turn."""
        return self.takeover_budget


class BudgetSettings(AsyncSettings):
    """Flags of ref_async_budget_prediction and ref_async_budget_prediction_per_question."""

    rule: BudgetRule = BudgetRule()
    samples: Chains = Chains(turns=1)

    def __post_init__(self) -> None:
        budget = self.rule.takeover_budget
        require(self.rule.budget in (None, budget), "--budget is called --takeover_budget here")
        require(self.voting.stop == "none", "budget prediction counts all samples of a question: leave --stop out")
        require(
            self.sharding.part is None,
            "budget prediction reports on a whole run: run the shards with ref_async --budget, or leave --shard out",
        )
        settle(self, rule=replace(self.rule, budget=budget))
        super().__post_init__()

    def _set_rate(self, budget: int) -> None:
        if self.rule.percentile_threshold is None:
            return super()._set_rate(budget)
        rate = 1 - self.rule.percentile_threshold
        if self.scoring.rejection_rate != rate:
            super()._set_rate(budget)
        settle(self, scoring=replace(self.scoring, rejection_rate=rate))
        return None


async def predict(settings: BudgetSettings, per_question: bool) -> str:
    """Runs, then reports; the report also goes into the result folder. Raises UserError."""
    folder = await evaluate_async(settings, per_question)
    result = report(folder, settings.rule.takeover_budget)
    atomic.write(folder / BUDGET, json.dumps(result, indent=1).encode() + b"\n")
    return f"{text(result)}\n{folder / BUDGET}"


class BudgetRow(TypedDict):
    """A question's rejections; ``low`` and ``high`` are what exchangeable scores give in 95 of 100 runs."""

    question: int
    scored: int
    asked: float
    expected: float
    realised: int
    low: int
    high: int


class BudgetReport(TypedDict):
    """What a budget came to, as in ``budget.json``. Counts are of scored chunks, over all questions."""

    budget: int
    repeats: int
    percentile_threshold: float
    calibration_scores: int
    questions: int
    scored: int
    asked: float
    expected: float
    realised: int
    rate: float
    low: float
    high: float
    questions_inside: int
    mean_accuracy: float | None
    by_question: list[BudgetRow]


def report(folder: Path, budget: int) -> BudgetReport:
    """Of a finished run. ``asked`` is budget / repeats of the scored chunks; ``expected`` what the ranks of so
    many exchangeable scores come to; the interval of a question's count is its exact one (beta-binomial),
    that of the whole is over questions, of what such questions come to."""
    samples, about, repeats = run_decisions.read(folder, None)
    decided = run_decisions.decisions(samples, repeats)
    rate = about["settings"]["rejection_rate"]
    scores, of_question = _scores(about, samples)
    interval = functools.cache(lambda n, m: forms.realised_interval(n, forms.threshold(n, rate, "published"), m))
    rows: list[BudgetRow] = []
    for question in sorted(set(decided.question.tolist())):
        own = decided.question == question
        scored = int(own.sum())
        n = of_question.get(question, scores)
        low, high = (round(scored * share) for share in interval(n, scored))
        rows.append(
            {
                "question": question,
                "scored": scored,
                "asked": scored * budget / repeats,
                "expected": scored * forms.expected_rate(n, forms.threshold(n, rate, "published")),
                "realised": int(decided.rejected[own].sum()),
                "low": low,
                "high": high,
            }
        )
    overall = intervals.interval(decided.rejected, decided.question)
    return {
        "budget": budget,
        "repeats": repeats,
        "percentile_threshold": 1 - rate,
        "calibration_scores": scores,
        "questions": len(rows),
        "scored": sum(row["scored"] for row in rows),
        "asked": sum(row["asked"] for row in rows),
        "expected": sum(row["expected"] for row in rows),
        "realised": sum(row["realised"] for row in rows),
        "rate": overall.rate,
        "low": overall.low,
        "high": overall.high,
        "questions_inside": sum(row["low"] <= row["realised"] <= row["high"] for row in rows),
        "mean_accuracy": read_summary(folder)["mean_accuracy"],
        "by_question": rows,
    }


def _scores(about: dict[str, Any], samples: Sequence[Record]) -> tuple[int, dict[int, int]]:
    """Calibration scores behind a decision: of all questions, or of one; and of those questions that have others."""
    calibrated = about["calibration"] or {}
    fewer: dict[int, int] = {}
    if len(calibrated.get("shape", ())) == 2 and COUNTS in calibrated:
        compared = dict(
            zip(
                calibrated["question_ids"],
                calibration.compared(calibrated[COUNTS], calibrated["shape"][1]),
                strict=True,
            )
        )
        fewer = {sample["question_index"]: compared.get(sample["question_id"], 0) for sample in samples}
    return _usual(about), fewer


def _usual(about: dict[str, Any]) -> int:
    settings = about["settings"]
    path = Path(settings["ppl_array_path"]) if settings["ppl_array_path"] else None
    if about["calibration"]:
        return int(about["calibration"]["shape"][-1])
    if path is None:
        raise UserError(f"the {SETTINGS} of this run doesn't tell how many scores it was calibrated with")
    return int(calibration.load(path, None).scores.shape[-1])


def text(result: BudgetReport) -> str:
    """The report as markdown."""
    whole = {"low": round(result["low"] * result["scored"]), "high": round(result["high"] * result["scored"])}
    rows = []
    for name, row in [*((str(row["question"]), row) for row in result["by_question"]), ("all", {**result, **whole})]:
        asked, expected, bounds = f"{row['asked']:.1f}", f"{row['expected']:.1f}", f"{row['low']} - {row['high']}"
        rows.append((name, row["scored"], asked, expected, row["realised"], bounds))
    columns = ("question", "scored", "asked", "expected", "realised", "95 % if exchangeable")
    return (
        f"{markdown(columns, rows)}\n\n"
        f"budget {result['budget']} of {result['repeats']}: {percent(result['budget'] / result['repeats'])} asked,"
        f" {percent(result['rate'])} of the scored chunks rejected ({percent(result['low'])} -"
        f" {percent(result['high'])}, 95 % over questions); {result['questions_inside']} of {result['questions']}"
        f" questions inside their interval; mean accuracy {percent(result['mean_accuracy'])}"
    )
