"""All methods on the same questions, servers, sampling and limits, block by block.

A block is a part of the questions. Every method runs it, forwards in one block and in reverse order in
the next, so that a machine that slows down or warms up favours none. A block that was interrupted is done
again, so its clock is whole.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]

from ATTS.baselines import compare_methods_report
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import (
    AsyncFixBudgetSettings,
    SpecReasonSettings,
    SpeculativeThinkingSettings,
    SyncFixBudgetSettings,
)
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.console import require, say
from ATTS.errors import UserError
from ATTS.runs.calibrate import calibrate
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.flags import TwoServers
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import atomic, provenance
from ATTS.store.result_folder import SUMMARY
from ATTS.tasks import datasets

METHODS = (
    *("draft", "target", "atts", "random", "sync_fix_budget", "async_fix_budget"),
    *("spec_reason", "speculative_thinking"),
)
DECODING = "speculative_decoding"  # the target alone on a server with native speculative decoding


@dataclass(frozen=True, kw_only=True)
class MethodsSettings(TwoServers):
    """Flags of compare_methods."""

    output_dir: Path = Path("results/methods")
    """A folder for the runs, the table, the picture and the JSON."""

    methods: str = ",".join(METHODS)
    """Which, separated by commas; besides these, speculative_decoding: the target alone, on a server that
    was started with configs/speculative_decoding.sh. Those done before stay in the table."""

    repeats: int = 4
    """Samples of every question."""

    blocks: int = 4
    """The questions are worked on in so many parts."""

    temperature: float = 0.8
    """Sampling temperature of both models in every method."""

    token_budget: int = 8192
    """Most tokens of a sample, in every method."""

    small_model_max_tokens: int = 500
    """Most tokens of a chunk of the draft, where a method writes chunks."""

    evalator_max_tokens: int = 500
    """Most tokens of a chunk of the target, where a method writes chunks."""

    rejection_rate: float = 0.4
    """Share of chunks that ATTS hands to the target; the random control takes the rate that this realised in the
    first block."""

    sample_size: int = 8
    """Calibration samples a question."""

    calibration_problems: int = 100
    """Questions to calibrate on, where the data set has some of its own."""

    takeover_budget: int | None = None
    """Take-overs a question and turn of the fixed budgets; default: the rejection rate of the repeats."""

    score_threshold: float = 7.0
    """Of SpecReason."""

    score_method: Literal["greedy", "average"] = "greedy"
    """Of SpecReason."""

    spe_config: Path = Path("configs/speculative_thinking/1b_14b.yml")
    """Rules of Speculative Thinking; the models are those of the other flags."""

    small_model_concurrency: int = 16
    """Most requests in flight at the draft server, in every method."""

    eval_model_concurrency: int = 16
    """Most requests in flight at the target server, in every method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_problems >= self.blocks >= 1, "--max_problems must be at least --blocks, and that at least 1")
        require(self.repeats >= 1, "--repeats must be at least 1")
        unknown = [method for method in self.chosen if method not in (*METHODS, DECODING)]
        require(not unknown, f"--methods: {', '.join(unknown)} unknown; known are {', '.join((*METHODS, DECODING))}")
        require(bool(self.chosen), "--methods names none")
        require(self.turns >= 1, "--token_budget must be at least a chunk of the draft and one of the target")

    @property
    def chosen(self) -> list[str]:
        return [name.strip() for name in self.methods.split(",") if name.strip()]

    @property
    def turns(self) -> int:
        """Those that can't exceed the budget: each may hold a chunk of both."""
        return self.token_budget // (self.small_model_max_tokens + self.evalator_max_tokens)

    @property
    def budget(self) -> int:
        """Take-overs a question and turn."""
        if self.takeover_budget is not None:
            return self.takeover_budget
        return max(1, round(self.rejection_rate * self.repeats))


async def compare_methods(settings: MethodsSettings) -> str:
    """Runs what is missing and returns the table. Raises UserError."""
    s = settings
    s.output_dir.mkdir(parents=True, exist_ok=True)
    _check(s)
    log = _Log(s.output_dir / "blocks.json")
    if "atts" in s.chosen:
        asked = s.calibration_problems if s.dataset_name == datasets.DEMO else s.max_problems
        started = time.perf_counter()
        await calibrate(_settings(ConformalSettings, s, max_problems=asked), per_question=False)
        if not log.has("calibration", 0):
            log.add("calibration", 0, time.perf_counter() - started, asked * s.sample_size)
    size = -(-s.max_problems // s.blocks)
    for block in range(s.blocks):
        first, last = block * size, min((block + 1) * size, s.max_problems)
        order = s.chosen if block % 2 == 0 else s.chosen[::-1]
        for method in order:
            if last <= first or log.has(method, block):
                continue
            say(f"== block {block + 1} of {s.blocks}: {method}")
            _clear(s.output_dir / method, range(first * s.repeats, last * s.repeats))
            folder = await _run(method, s, last)
            summary = json.loads((folder / SUMMARY).read_text())
            log.add(method, block, summary["wall_seconds"], summary["samples_in_wall_seconds"])
    return compare_methods_report.write(s.output_dir, log.blocks, [*METHODS, DECODING], dataclasses.asdict(s))


async def _run(method: str, s: MethodsSettings, last: int) -> Path:
    """The first ``last`` questions, of which all but the newest block are done already."""
    folder = s.output_dir / method
    common: dict[str, Any] = {"max_problems": last, "output_dir": folder}
    loop = {**common, "turns": s.turns}
    if method in ("draft", "target", DECODING):
        alone: dict[str, Any] = {"small_model_max_tokens": s.token_budget, "turns": 1, "token_budget": s.token_budget}
        of_target = method != "draft"
        alone |= {
            "small_model_name": s.eval_model_name if of_target else s.small_model_name,
            "small_model_url": s.target_url if of_target else s.draft_url,
            "small_model_concurrency": s.eval_model_concurrency if of_target else s.small_model_concurrency,
        }
        return await evaluate_alone(_settings(BaselineSettings, s, **common, **alone))
    if method in ("atts", "random"):
        more = {}
        if method == "random":
            more = {"takeover": "random", "rejection_rate": _realised(s)}
        return await evaluate_async(_settings(AsyncSettings, s, **loop, **more), per_question=False)
    if method in ("sync_fix_budget", "async_fix_budget"):
        kind = SyncFixBudgetSettings if method == "sync_fix_budget" else AsyncFixBudgetSettings
        return await evaluate_fixed_budget(_settings(kind, s, **loop, takeover_budget=s.budget))
    if method == "spec_reason":
        return await evaluate_spec_reason(_settings(SpecReasonSettings, s, **common))
    return await _think(s, last)


def _settings(kind: Callable[..., Any], s: MethodsSettings, **more: Any) -> Any:
    """The settings of one method: those of the comparison wherever it has them."""
    shared = {
        **dataclasses.asdict(s),
        "small_model_temperature": s.temperature,
        "eval_model_temperature": s.temperature,
        "max_concurrent": s.small_model_concurrency,
        "use_chat_template": True,
        "ppl_array_path": s.output_dir / "calibration.npy",
        "step_max_tokens": min(512, s.token_budget),
    } | more
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in shared.items() if name in known})


def _realised(s: MethodsSettings) -> float:
    """The rejection rate of ATTS's own first block, in every block."""
    path = s.output_dir / "random_rate.json"
    if not path.is_file():
        try:
            rate = json.loads((s.output_dir / "atts" / SUMMARY).read_text())["rejection_rate"]
        except FileNotFoundError:
            raise UserError(
                "random takes over at the rate that atts realises: name atts among --methods, too"
            ) from None
        atomic.write(path, json.dumps(rate or 0.0).encode())
    return float(json.loads(path.read_text()))


async def _think(s: MethodsSettings, last: int) -> Path:
    """With the rules of the file and the models of this comparison."""
    fields = yaml.safe_load(s.spe_config.read_text())
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
