"""Settings of the comparison of methods, and of any comparison that runs in blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.console import require
from ATTS.method.conformal import PerTurn
from ATTS.runs.flags import TwoServers
from ATTS.tasks import datasets

CONTROLS = ("random", "sync_fix_budget", "async_fix_budget")  # of ATTS: they take over at its rate
RESAMPLE = "atts_resample"  # calibrated by turn; the target writes in the place of a rejected chunk
METHODS = (
    *("target", "draft", "atts", "per_turn", RESAMPLE, *CONTROLS),
    *("spec_reason", "spec_reason_3", "speculative_thinking"),
)  # the first is what the others are compared with
AUTHORS_THRESHOLD = 3.0  # with which the authors of ATTS ran SpecReason, whose own default is 7
DECODING = "speculative_decoding"  # the target alone on a server with native speculative decoding


@dataclass(frozen=True, kw_only=True)
class BlockSettings(TwoServers):
    """What runs of the same questions on the same servers share."""

    output_dir: Path
    """A folder for the runs, the table, the picture and the JSON."""

    repeats: int = 4
    """Samples of every question."""

    blocks: int = 4
    """The questions are worked on in so many parts."""

    temperature: float = 0.8
    """Sampling temperature of both models in every run."""

    token_budget: int = 8192
    """Most tokens of a sample, in every run. Nothing else ends a sample without an answer: chunks are cut to
    what is left of it."""

    small_model_max_tokens: int = 500
    """Most tokens of a chunk of the draft, where it writes chunks."""

    evalator_max_tokens: int = 500
    """Most tokens of a chunk of the target, where it writes chunks."""

    sample_size: int = 8
    """Calibration samples a question."""

    calibration_problems: int = 100
    """Questions to calibrate on, where the data set has some of its own, or with --calibration_split."""

    small_model_concurrency: int = 16
    """Most requests in flight at the draft server, in every run."""

    eval_model_concurrency: int = 16
    """Most requests in flight at the target server, in every run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_problems >= self.blocks >= 1, "--max_problems must be at least --blocks, and that at least 1")
        require(self.repeats >= 1, "--repeats must be at least 1")
        require(self.token_budget >= 1, "--token_budget must be at least 1")

    @property
    def calibrated(self) -> tuple[int, str]:
        """How many questions are calibrated on, and the flag that says so: their own, where the data set has some."""
        if self.dataset_name == datasets.DEMO or self.calibration_split:
            return self.calibration_problems, "--calibration_problems"
        return self.max_problems, "--max_problems"

    def check_calibration(self, rate: float, what: str) -> None:
        """Raises ValueError where ``what``, calibrated by turn, would have too few questions for a rate."""
        (count, flag), fewest = self.calibrated, PerTurn.fewest(rate)
        require(count >= fewest, f"{what} needs at least {fewest} questions to calibrate on: {flag}")

    @property
    def full_turns(self) -> int:
        """Turns of a sample whose draft writes whole chunks only, at least two."""
        return max(2, self.token_budget // self.small_model_max_tokens)


@dataclass(frozen=True, kw_only=True)
class MethodsSettings(BlockSettings):
    """Flags of compare_methods."""

    output_dir: Path = Path("results/methods")
    """A folder for the runs, the table, the picture and the JSON."""

    methods: str = ",".join(METHODS)
    """Which, separated by commas; besides these, speculative_decoding: the target alone, on a server that
    was started with configs/speculative_decoding.sh. Those done before stay in the table."""

    rejection_rate: float = 0.4
    """Share of chunks that ATTS hands to the target; its controls (random, sync_fix_budget, async_fix_budget)
    take over at the rate that it realises in the same block, or at this one where atts is not among --methods."""

    takeover_budget: int | None = None
    """Take-overs a question and turn of the fixed budgets; default: the share of the live samples that ATTS
    hands over."""

    score_threshold: float = 7.0
    """Of SpecReason in the row spec_reason: its own default; spec_reason_3 has the 3 of ATTS's authors."""

    score_method: Literal["greedy", "average"] = "greedy"
    """Of SpecReason."""

    spe_config: Path = Path("configs/speculative_thinking/1b_14b.yml")
    """Rules of Speculative Thinking; the models are those of the other flags."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [method for method in self.chosen if method not in (*METHODS, DECODING)]
        require(not unknown, f"--methods: {', '.join(unknown)} unknown; known are {', '.join((*METHODS, DECODING))}")
        require(bool(self.chosen), "--methods names none")
        if "per_turn" in self.chosen or RESAMPLE in self.chosen:
            self.check_calibration(self.rejection_rate, "per_turn among --methods")

    @property
    def chosen(self) -> list[str]:
        return [name.strip() for name in self.methods.split(",") if name.strip()]
