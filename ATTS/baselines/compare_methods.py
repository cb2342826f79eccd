"""All methods on the same questions, servers, sampling and limits, block by block (in_blocks.py).

The controls of ATTS take over at the rate that ATTS realised in the same block, so ATTS runs before them in either
order: what is compared is whom the target helps, not how often.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ATTS.analysis.metrics import rejections
from ATTS.analysis.tables import percent
from ATTS.baselines import compare_methods_report, in_blocks
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import (
    AsyncFixBudgetSettings,
    SpecReasonSettings,
    SpeculativeThinkingSettings,
    SyncFixBudgetSettings,
)
from ATTS.baselines.in_blocks import Block, run_in_blocks, settings_of
from ATTS.baselines.method_settings import AUTHORS_THRESHOLD, CONTROLS, DECODING, METHODS, RESAMPLE, MethodsSettings
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.console import say
from ATTS.flags import flat
from ATTS.method.types import Stage
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store import atomic
from ATTS.store.records import Record
from ATTS.store.result_folder import samples


async def compare_methods(settings: MethodsSettings) -> str:
    """Runs what is missing and returns the table. Raises UserError."""
    s = settings
    log = in_blocks.open_log(s, "comparison_settings.json", free=("methods",))
    for method, turns in (("atts", 1), ("per_turn", s.plan.full_turns), (RESAMPLE, s.plan.full_turns)):
        if method in s.comparison.chosen:
            on_rejection = "resample" if method == RESAMPLE else "continue"
            more = {"turns": turns, "ppl_array_path": _array(s, method), "on_rejection": on_rejection}
            await in_blocks.calibrate_once(s, log, method, **more)

    async def run(method: str, block: Block) -> Path:
        rates = _rates(s, log.has("atts", block.number), block)
        if method in CONTROLS:
            say(f"the target takes over {percent(rates.handed_over)} of the chunks that don't answer, as in atts")
        return await _run(method, s, block.last, rates)

    await run_in_blocks(s, log, lambda number: order(s.comparison.chosen, number), run)
    return compare_methods_report.write(s.output.output_dir, log.blocks, [*METHODS, DECODING], flat(s))


def order(chosen: Sequence[str], block: int) -> list[str]:
    """Forwards in one block and backwards in the next, but ATTS always before its controls."""
    methods = list(chosen) if block % 2 == 0 else list(chosen)[::-1]
    if "atts" in methods:
        first = next(place for place, method in enumerate(methods) if method in ("atts", *CONTROLS))
        methods.remove("atts")
        methods.insert(first, "atts")
    return methods


@dataclass(frozen=True)
class Rates:
    """How often the target took over: of the chunks that were scored, and of all that did not answer."""

    rejected: float
    handed_over: float


def realised(samples: Iterable[Record]) -> Rates | None:
    """Of finished samples of ATTS; None if nothing was decided in them."""
    rejected: list[bool] = []
    handed_over: list[bool] = []
    for sample in samples:
        history = sample["full_history"]
        rejected += rejections(history)
        continued = {entry["turn"] for entry in history if entry["model"] == Stage.CONTINUE.value}
        scored = {entry["turn"] for entry in history if entry["model"] == Stage.SCORE.value}
        handed_over += [turn in continued for turn in scored | continued]
    if not rejected:
        return None
    return Rates(sum(rejected) / len(rejected), sum(handed_over) / len(handed_over))


def _rates(s: MethodsSettings, atts_is_done: bool, block: Block) -> Rates:
    """At which the controls take over: those of ATTS in the same block, else the one that it was asked for."""
    nominal = Rates(s.comparison.rejection_rate, s.comparison.rejection_rate)
    if not atts_is_done:
        return nominal
    own = (sample for sample in samples(s.output.output_dir / "atts") if sample["problem_index"] in block.indices)
    return realised(own) or nominal


async def _run(method: str, s: MethodsSettings, last: int, rates: Rates) -> Path:
    """The first ``last`` questions, of which all but the newest block are done already."""
    folder = s.output.output_dir / method
    common: dict[str, Any] = {"max_problems": last, "output_dir": folder}
    # Every turn writes something, so the budget ends a sample before this number of turns does.
    loop = {**common, "turns": s.plan.token_budget}
    control = {**loop, "force": True}  # its rate is another one in every block
    if method in ("draft", "target", DECODING):
        role = "draft" if method == "draft" else "target"
        one = settings_of(BaselineSettings, s, **common, **in_blocks.alone(s, of_target=role == "target"))
        return await evaluate_alone(one, role)
    if method in ("atts", "per_turn", RESAMPLE):
        more = {"ppl_array_path": _array(s, method), "calibration": None if method == "atts" else "per_turn"}
        more["on_rejection"] = "resample" if method == RESAMPLE else "continue"
        return await evaluate_async(settings_of(AsyncSettings, s, **loop, **more), per_question=False)
    if method == "random":
        rate = min(max(rates.rejected, 0.01), 0.99)
        coin = {**control, "takeover": "random", "rejection_rate": rate}
        return await evaluate_async(settings_of(AsyncSettings, s, **coin), per_question=False)
    if method in CONTROLS:
        budget: dict[str, Any] = {"takeover_rate": rates.handed_over, "takeover_budget": 0}
        if s.comparison.takeover_budget is not None:
            budget = {"takeover_budget": s.comparison.takeover_budget}
        if method == "sync_fix_budget":
            return await evaluate_fixed_budget(settings_of(SyncFixBudgetSettings, s, **control, **budget))
        return await evaluate_fixed_budget(settings_of(AsyncFixBudgetSettings, s, **control, **budget))
    if method in ("spec_reason", "spec_reason_3"):
        threshold = s.comparison.score_threshold if method == "spec_reason" else AUTHORS_THRESHOLD
        return await evaluate_spec_reason(settings_of(SpecReasonSettings, s, **common, score_threshold=threshold))
    return await _think(s, last)


def _array(s: MethodsSettings, method: str) -> Path:
    return s.output.output_dir / f"calibration_{method}.npy"


async def _think(s: MethodsSettings, last: int) -> Path:
    """With the rules of the file and the models of this comparison."""
    fields = config_file.read(s.comparison.spe_config)
    fields |= {"target_model_name": s.target.name, "speculative_model_name": s.draft.name}
    path = s.output.output_dir / "speculative_thinking.yml"
    atomic.write(path, yaml.safe_dump(fields).encode())
    settings = settings_of(
        SpeculativeThinkingSettings,
        s,
        spe_config=path,
        model=None,
        evals=s.data.dataset_name,
        n=s.plan.repeats,
        end=last,
        temperatures=(s.plan.temperature,),
        top_k=0,
        max_tokens=s.plan.token_budget,
        result_dir=s.output.output_dir,
        folder="speculative_thinking",
    )
    return Path(await evaluate_speculative_thinking(settings))
