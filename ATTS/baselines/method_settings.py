"""Settings of the comparison of methods."""

from pathlib import Path
from typing import Literal

from ATTS.flags import Incidental, Part, Positive, require
from ATTS.method.conformal import PerTurn
from ATTS.runs.parts import Data, DraftModel, Output, PairLimits, Requests, TargetModel, apart
from ATTS.tasks import datasets

CONTROLS = ("random", "sync_fix_budget", "async_fix_budget")  # of ATTS: they take over at its rate
METHODS = (
    *("target", "draft", "atts", "per_turn", *CONTROLS),
    *("spec_reason", "spec_reason_3", "speculative_thinking"),
)  # the first is what the others are compared with
AUTHORS_THRESHOLD = 3.0  # with which the authors of ATTS ran SpecReason, whose own default is 7
DECODING = "speculative_decoding"  # the target alone on a server with native speculative decoding


class Comparison(Part):
    """What is compared."""

    methods: str = ",".join(METHODS)
    """Which, separated by commas; besides these, speculative_decoding: the target alone, on a server that
    was started with configs/speculative_decoding.sh. Those done before stay in the table."""

    repeats: Positive[int] = 4
    """Samples of every question."""

    blocks: Positive[int] = 4
    """The questions are worked on in so many parts."""

    temperature: float = 0.8
    """Sampling temperature of both models in every method."""

    token_budget: Positive[int] = 8192
    """Most tokens of a sample, in every method. Nothing else ends a sample without an answer: chunks are cut to
    what is left of it."""

    small_model_max_tokens: int = 500
    """Most tokens of a chunk of the draft, where a method writes chunks."""

    evalator_max_tokens: int = 500
    """Most tokens of a chunk of the target, where a method writes chunks."""

    rejection_rate: float = 0.4
    """Share of chunks that ATTS hands to the target; its controls (random, sync_fix_budget, async_fix_budget)
    take over at the rate that it realises in the same block, or at this one where atts is not among --methods."""

    sample_size: int = 8
    """Calibration samples a question."""

    calibration_problems: int = 100
    """Questions to calibrate on, where the data set has some of its own."""

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
        return [name.strip() for name in self.methods.split(",") if name.strip()]

    @property
    def full_turns(self) -> int:
        """Turns of a sample whose draft writes whole chunks only, at least two."""
        return max(2, self.token_budget // self.small_model_max_tokens)


class MethodsOutput(Output):
    """Where the comparison goes."""

    output_dir: Incidental[Path] = Path("results/methods")
    """A folder for the runs, the table, the picture and the JSON."""


class MethodsSettings(Part):
    """Flags of compare_methods."""

    draft: DraftModel
    target: TargetModel
    data: Data
    comparison: Comparison = Comparison()
    requests: Requests = Requests()
    limits: PairLimits = PairLimits(target=16)
    output: MethodsOutput = MethodsOutput()

    def __post_init__(self) -> None:
        apart(self.draft, self.target)
        require(self.data.max_problems >= self.comparison.blocks, "--max_problems must be at least --blocks")
        asked, demo = self.comparison, self.data.dataset_name == datasets.DEMO
        calibrated, flag = (asked.calibration_problems, "calibration") if demo else (self.data.max_problems, "max")
        fewest = PerTurn.fewest(asked.rejection_rate)
        require(
            "per_turn" not in asked.chosen or calibrated >= fewest,
            f"per_turn among --methods needs at least {fewest} questions to calibrate on: --{flag}_problems",
        )
