"""The frontier: target, draft, and ATTS at every combination of settings on the same questions, block by block."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ATTS.baselines import in_blocks
from ATTS.baselines.in_blocks import Block, settings_of
from ATTS.baselines.method_settings import BlockSettings, ComparisonOutput
from ATTS.flags import Part, Positive, Share, flags, require
from ATTS.method.score import ScoreName
from ATTS.method.take_over import OnRejection
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store import atomic
from ATTS.tradeoff import frontier_report

Calibration = Literal["marginal", "per_turn"]
Decider = ScoreName | Literal["random"]
COIN = "random"
ALONE = ("target", "draft")


@dataclass(frozen=True)
class Combination:
    """One setting of ATTS, or of the coin in its place, which has no ``calibration`` and no ``window``."""

    on_rejection: OnRejection
    attempts: int
    score: Decider
    window: int | None
    calibration: Calibration | None
    rate: float

    @property
    def name(self) -> str:
        """Of its result folder."""
        on_rejection = f"{self.on_rejection}{self.attempts if self.attempts > 1 else ''}"
        parts = (on_rejection, f"{self.score}{self.window or ''}", self.calibration, f"{self.rate:g}")
        return "_".join(filter(None, parts))

    @property
    def flags(self) -> dict[str, Any]:
        """By the names of ref_async."""
        given: dict[str, Any] = {
            "on_rejection": self.on_rejection,
            "draft_attempts": self.attempts,
            "score_window": self.window,
            "rejection_rate": self.rate,
        }
        if self.score == COIN:
            return {**given, "takeover": "random"}
        return {**given, "score": self.score, "calibration": self.calibration}

    @property
    def array(self) -> str:
        """The name of its calibration array: first chunks are the same at every rate."""
        return self.name if self.calibration == "per_turn" else self.name.rpartition("_")[0]


class Grid(Part):
    """Which settings. Runs of other combinations can be added to the same folder later."""

    rates: Share[tuple[float, ...]] = (0.1, 0.2, 0.4, 0.6)
    """Rejection rates."""

    on_rejections: tuple[OnRejection, ...] = ("continue", "resample")
    """What becomes of a rejected chunk: the target continues behind it, or writes in its place."""

    draft_attempts: Positive[tuple[int, ...]] = (1,)
    """resample among --on_rejections: how many drafts of a chunk are rejected before the target writes it."""

    scores: tuple[Decider, ...] = ("mean",)
    """How chunks are scored; random: a coin of the same rate decides, the zero line."""

    score_window: Positive[int | None] = None
    """Of worst_window among --scores: tokens in a row; default 5."""

    calibrations: tuple[Calibration, ...] = ("per_turn",)
    """What a chunk's score is compared with: first chunks (marginal), or chunks of the same turn."""

    margin: frontier_report.Margin = 0.02
    """A run is non-inferior if its accuracy is above the target's less this, by the 95 % interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.combinations),
            "--rates, --on_rejections, --draft_attempts, --scores and --calibrations need a value each",
        )
        require(len(set(self.combinations)) == len(self.combinations), "a rate, score or calibration is there twice")

    @property
    def combinations(self) -> list[Combination]:
        """The settings of each run beside target and draft, by its folder's name."""
        found = []
        for on_rejection, score in itertools.product(self.on_rejections, self.scores):
            window = self.score_window if score == "worst_window" else None
            kinds = (None,) if score == COIN and self.calibrations else self.calibrations
            attempts = self.draft_attempts if on_rejection == "resample" else (1,)
            for times, kind, rate in itertools.product(attempts, kinds, self.rates):
                found.append(Combination(on_rejection, times, score, window, kind, rate))
        return found


class FrontierSettings(BlockSettings):
    """Flags of frontier."""

    grid: Grid = Grid()
    output: ComparisonOutput = ComparisonOutput(output_dir=Path("results/frontier"))

    def __post_init__(self) -> None:
        super().__post_init__()
        for rate in self.grid.rates if "per_turn" in self.grid.calibrations else ():
            self.check_calibration(rate, f"per_turn among --calibrations, at a rate of {rate:g},")


async def frontier(settings: FrontierSettings) -> str:
    """Runs what is missing; writes frontier.md, .json and .png and returns the table. Raises UserError."""
    s = settings
    free = tuple(flag.name for flag in flags(Grid))
    log = in_blocks.open_log(s, "frontier_settings.json", free)
    combinations = {one.name: one for one in s.grid.combinations}
    for one in {one.array: one for one in combinations.values() if one.calibration}.values():
        given = {name: value for name, value in one.flags.items() if name != "calibration"}
        if one.calibration == "marginal":
            del given["rejection_rate"]
        turns = s.plan.full_turns if one.calibration == "per_turn" else 1
        await in_blocks.calibrate_once(s, log, one.array, turns=turns, ppl_array_path=_array(s, one), **given)
    names = [*ALONE, *combinations]

    async def run(name: str, block: Block) -> Path:
        common = {"max_problems": block.last, "output_dir": s.output.output_dir / name}
        if name in ALONE:
            alone = in_blocks.alone(s, of_target=name == "target")
            return await evaluate_alone(settings_of(BaselineSettings, s, **common, **alone), name)
        one = combinations[name]
        more = {
            "turns": s.plan.token_budget,  # every turn writes something, so the budget ends a sample before
            "ppl_array_path": _array(s, one) if one.calibration else None,
            **one.flags,
        }
        return await evaluate_async(settings_of(AsyncSettings, s, **common, **more), per_question=False)

    await in_blocks.run_in_blocks(s, log, lambda number: names if number % 2 == 0 else names[::-1], run)
    result = frontier_report.report([s.output.output_dir / name for name in log.whole()], s.grid.margin)
    text = frontier_report.table(result)
    atomic.write(s.output.output_dir / "frontier.json", result.json)
    atomic.write(s.output.output_dir / "frontier.md", text.encode() + b"\n")
    frontier_report.picture(result, s.output.output_dir / "frontier.png")
    return text


def _array(s: FrontierSettings, one: Combination) -> Path:
    return s.output.output_dir / f"calibration_{one.array}.npy"
