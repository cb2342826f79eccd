"""All methods on the same questions, servers, sampling and limits, block by block.

A block is a part of the questions. Every method runs it, forwards in one block and in reverse order in
the next, so that a machine that slows down or warms up favours none. A block that was interrupted is done
again, so its clock is whole. The controls of ATTS take over at the rate that ATTS realised in the same block,
so ATTS runs before them in either order: what is compared is whom the target helps, not how often.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ATTS.analysis.metrics import rejections
from ATTS.analysis.tables import percent
from ATTS.baselines import compare_methods_report
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import (
    AsyncFixBudgetSettings,
    SpecReasonSettings,
    SpeculativeThinkingSettings,
    SyncFixBudgetSettings,
)
from ATTS.baselines.method_settings import AUTHORS_THRESHOLD, CONTROLS, DECODING, METHODS, MethodsSettings
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.runs.calibrate import calibrate
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import atomic, provenance
from ATTS.store.records import Record
from ATTS.store.result_folder import SUMMARY, samples
from ATTS.tasks import datasets


async def compare_methods(settings: MethodsSettings) -> str:
    """Runs what is missing and returns the table. Raises UserError."""
    s = settings
    s.output_dir.mkdir(parents=True, exist_ok=True)
    _check(s)
    log = _Log(s.output_dir / "blocks.json")
    for method, turns in (("atts", 1), ("per_turn", s.full_turns)):
        if method not in s.chosen:
            continue
        asked = s.calibration_problems if s.dataset_name == datasets.DEMO else s.max_problems
        started = time.perf_counter()
        more = {"max_problems": asked, "turns": turns, "ppl_array_path": _array(s, method)}
        await calibrate(_settings(ConformalSettings, s, **more), per_question=False)
        name = compare_methods_report.CALIBRATION + method
        if not log.has(name, 0):
            log.add(name, 0, time.perf_counter() - started, asked * s.sample_size)
    size = -(-s.max_problems // s.blocks)
    for block in range(s.blocks):
        first, last = block * size, min((block + 1) * size, s.max_problems)
        for method in order(s.chosen, block):
            if last <= first or log.has(method, block):
                continue
            indices = range(first * s.repeats, last * s.repeats)
            say(f"== block {block + 1} of {s.blocks}: {method}")
            rates = _rates(s, log.has("atts", block), indices)
            if method in CONTROLS:
                say(f"the target takes over {percent(rates.handed_over)} of the chunks that don't answer, as in atts")
            _clear(s.output_dir / method, indices)
            folder = await _run(method, s, last, rates)
            summary = json.loads((folder / SUMMARY).read_text())
            log.add(method, block, summary["wall_seconds"], summary["samples_in_wall_seconds"])
    return compare_methods_report.write(s.output_dir, log.blocks, [*METHODS, DECODING], dataclasses.asdict(s))


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


def realised(found: Iterable[Record]) -> Rates | None:
    """Of finished samples of ATTS; None if nothing was decided in them."""
    rejected: list[bool] = []
    handed_over: list[bool] = []
    for sample in found:
        history = sample["full_history"]
        rejected += rejections(history)
        continued = {entry["turn"] for entry in history if entry["model"] == Stage.CONTINUE.value}
        scored = {entry["turn"] for entry in history if entry["model"] == Stage.SCORE.value}
        handed_over += [turn in continued for turn in scored | continued]
    if not rejected:
        return None
    return Rates(sum(rejected) / len(rejected), sum(handed_over) / len(handed_over))


def _rates(s: MethodsSettings, atts_is_done: bool, block: range) -> Rates:
    """At which the controls take over: those of ATTS in the same block, else the one that it was asked for."""
    asked = Rates(s.rejection_rate, s.rejection_rate)
    if not atts_is_done:
        return asked
    return realised(sample for sample in samples(s.output_dir / "atts") if sample["problem_index"] in block) or asked


async def _run(method: str, s: MethodsSettings, last: int, rates: Rates) -> Path:
    """The first ``last`` questions, of which all but the newest block are done already."""
    folder = s.output_dir / method
    common: dict[str, Any] = {"max_problems": last, "output_dir": folder}
    # Every turn writes something, so the budget ends a sample before so many turns do.
    loop = {**common, "turns": s.token_budget}
    control = {**loop, "force": True}  # its rate is another one in every block
    if method in ("draft", "target", DECODING):
        alone: dict[str, Any] = {"small_model_max_tokens": s.token_budget, "turns": 1, "token_budget": s.token_budget}
        of_target = method != "draft"
        alone |= {
            "small_model_name": s.eval_model_name if of_target else s.small_model_name,
            "small_model_url": s.target_url if of_target else s.draft_url,
            "small_model_concurrency": s.eval_model_concurrency if of_target else s.small_model_concurrency,
        }
        return await evaluate_alone(_settings(BaselineSettings, s, **common, **alone))
    if method in ("atts", "per_turn"):
        more = {"ppl_array_path": _array(s, method), "calibration": "per_turn" if method == "per_turn" else None}
        return await evaluate_async(_settings(AsyncSettings, s, **loop, **more), per_question=False)
    if method == "random":
        rate = min(max(rates.rejected, 0.01), 0.99)
        coin = {**control, "takeover": "random", "rejection_rate": rate}
        return await evaluate_async(_settings(AsyncSettings, s, **coin), per_question=False)
    if method in CONTROLS:
        kind = SyncFixBudgetSettings if method == "sync_fix_budget" else AsyncFixBudgetSettings
        budget = {"takeover_rate": rates.handed_over, "takeover_budget": 0}
        if s.takeover_budget is not None:
            budget = {"takeover_budget": s.takeover_budget}
        return await evaluate_fixed_budget(_settings(kind, s, **control, **budget))
    if method in ("spec_reason", "spec_reason_3"):
        threshold = s.score_threshold if method == "spec_reason" else AUTHORS_THRESHOLD
        return await evaluate_spec_reason(_settings(SpecReasonSettings, s, **common, score_threshold=threshold))
    return await _think(s, last)


def _settings(kind: Callable[..., Any], s: MethodsSettings, **more: Any) -> Any:
    """The settings of one method: those of the comparison wherever it has them."""
    shared = {
        **dataclasses.asdict(s),
        "small_model_temperature": s.temperature,
        "eval_model_temperature": s.temperature,
        "max_concurrent": s.small_model_concurrency,
        "use_chat_template": True,
        "step_max_tokens": min(512, s.token_budget),
    } | more
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in shared.items() if name in known})


def _array(s: MethodsSettings, method: str) -> Path:
    return s.output_dir / f"calibration_{method}.npy"


async def _think(s: MethodsSettings, last: int) -> Path:
    """With the rules of the file and the models of this comparison."""
    fields = config_file.read(s.spe_config)
    fields |= {"target_model_name": s.eval_model_name, "speculative_model_name": s.small_model_name}
    path = s.output_dir / "speculative_thinking.yml"
    atomic.write(path, yaml.safe_dump(fields).encode())
    settings = _settings(
        SpeculativeThinkingSettings,
        s,
        spe_config=path,
        model=None,
        evals=s.dataset_name,
        n=s.repeats,
        end=last,
        temperatures=(s.temperature,),
        top_k=0,
        max_tokens=s.token_budget,
        result_dir=s.output_dir,
        folder="speculative_thinking",
    )
    return Path(await evaluate_speculative_thinking(settings))


def _check(s: MethodsSettings) -> None:
    """The folder is of one comparison: other settings need another."""
    path = s.output_dir / "comparison_settings.json"
    told = json.loads(json.dumps(dataclasses.asdict(s), default=str))
    for name in ("methods", "small_model_url", "eval_model_url", "small_model_port", "eval_model_port", "force"):
        told.pop(name)
    if path.is_file():
        made = json.loads(path.read_text())
        changed = provenance.differences(made, told)
        if changed:
            raise UserError(
                f"{s.output_dir} holds another comparison:\n  " + "\n  ".join(changed) + "\nchoose another --output_dir"
            )
    atomic.write(path, json.dumps(told, indent=1).encode() + b"\n")


def _clear(folder: Path, indices: range) -> None:
    """Forgets an interrupted block."""
    for index in indices:
        (folder / f"problem_{index:04d}.json").unlink(missing_ok=True)


class _Log:
    """Which method has done which block, and how long it took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.blocks: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []

    def has(self, method: str, block: int) -> bool:
        return any(done["method"] == method and done["block"] == block for done in self.blocks)

    def add(self, method: str, block: int, seconds: float, samples: int) -> None:
        self.blocks.append({"method": method, "block": block, "wall_seconds": seconds, "samples": samples})
        atomic.write(self._path, json.dumps(self.blocks, indent=1).encode() + b"\n")
