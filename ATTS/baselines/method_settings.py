"""Settings of the comparison of methods, and of any comparison that runs in blocks."""

from pathlib import Path
from typing import Literal

from ATTS.flags import Incidental, Part, Positive, require
from ATTS.method.conformal import PerTurn
from ATTS.runs.addresses import apart
from ATTS.runs.parts import Data, DraftModel, Output, PairLimits, Requests, TargetModel
from ATTS.tasks import datasets

CONTROLS = ("random", "sync_fix_budget", "async_fix_budget")  # of ATTS: they take over at its rate
RESAMPLE = "atts_resample"  # calibrated by turn; the target writes in the place of a rejected chunk
METHODS = (
    *("target", "draft", "atts", "per_turn", RESAMPLE, *CONTROLS),
    *("spec_reason", "spec_reason_3", "speculative_thinking"),
)  # the first is what the others are compared with
AUTHORS_THRESHOLD = 3.0  # with which the authors of ATTS ran SpecReason, whose own default is 7
DECODING = "speculative_decoding"  # the target alone on a server with native speculative decoding


class Plan(Part):
    """How much is run, and how."""

    repeats: Positive[int] = 4
    """Samples of every question."""

    blocks: Positive[int] = 4
    """The questions are split into this many blocks."""

    temperature: float = 0.8
    """Sampling temperature of both models in every run."""

    token_budget: Positive[int] = 8192
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

    @property
    def full_turns(self) -> int:
        """Turns of a sample whose draft writes whole chunks only, at least two."""
        return max(2, self.token_budget // self.small_model_max_tokens)


class ComparisonOutput(Output):
    """Where the comparison goes."""

    output_dir: Incidental[Path]
    """A folder for the runs, the table, the picture and the JSON."""


class BlockSettings(Part):
    """What runs of the same questions on the same servers share."""

    draft: DraftModel
    target: TargetModel
    data: Data
    plan: Plan = Plan()
    requests: Requests = Requests()
    limits: PairLimits = PairLimits(target=16)
    output: ComparisonOutput

    def __post_init__(self) -> None:
        apart(self.draft, self.target)
        require(self.data.max_problems >= self.plan.blocks, "--max_problems must be at least --blocks")

    @property
    def calibrated(self) -> tuple[int, str]:
        """How many questions are calibrated on, and the flag that says so: their own, where the data set has some."""
        if self.data.dataset_name == datasets.DEMO or self.data.calibration_split:
            return self.plan.calibration_problems, "--calibration_problems"
        return self.data.max_problems, "--max_problems"

    def check_calibration(self, rate: float, what: str) -> None:
        """Raises ValueError where ``what``, calibrated by turn, would have too few questions for a rate."""
        count, flag = self.calibrated
        enough = PerTurn.suffices(count, self.plan.sample_size, rate)
        require(enough, f"{what} needs scores worth {PerTurn.fewest(rate)} independent ones: raise {flag}")


class Comparison(Part):
    """What is compared."""

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

    @property
    def chosen(self) -> list[str]:
        """The names of the methods asked for, in the order of the table."""
        return [name.strip() for name in self.methods.split(",") if name.strip()]


class MethodsSettings(BlockSettings):
    """Flags of compare_methods."""

    comparison: Comparison = Comparison()
    output: ComparisonOutput = ComparisonOutput(output_dir=Path("results/methods"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if "per_turn" in self.comparison.chosen or RESAMPLE in self.comparison.chosen:
            self.check_calibration(self.comparison.rejection_rate, "per_turn among --methods")
