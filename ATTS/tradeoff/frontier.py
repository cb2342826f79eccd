"""The frontier: target, draft, and ATTS at every combination of settings on the same questions, block by block."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ATTS.baselines import in_blocks
from ATTS.baselines.in_blocks import Block, settings_of
from ATTS.baselines.method_settings import BlockSettings, ComparisonOutput
from ATTS.flags import Part, Share, require
from ATTS.method.score import ScoreName
from ATTS.method.take_over import OnRejection
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store import atomic
from ATTS.tradeoff import frontier_report

Calibration = Literal["marginal", "per_turn"]
ALONE = ("target", "draft")


@dataclass(frozen=True)
class Combination:
    """One setting of ATTS."""

    on_rejection: OnRejection
    score: ScoreName
    calibration: Calibration
    rate: float

    @property
    def name(self) -> str:
        """Of its result folder."""
        return f"{self.on_rejection}_{self.score}_{self.calibration}_{self.rate:g}"

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

    scores: tuple[ScoreName, ...] = ("mean",)
    """How chunks are scored."""

    calibrations: tuple[Calibration, ...] = ("per_turn",)
    """What a chunk's score is compared with: first chunks (marginal), or chunks of the same turn."""

    margin: frontier_report.Margin = 0.02
    """A run is non-inferior if its accuracy is above the target's less this, by the 95 % interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.combinations), "--rates, --on_rejections, --scores and --calibrations need a value each")
        require(len(set(self.combinations)) == len(self.combinations), "a rate, score or calibration is there twice")

    @property
    def combinations(self) -> list[Combination]:
        parts = itertools.product(self.on_rejections, self.scores, self.calibrations, self.rates)
        return [Combination(*part) for part in parts]


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
    free = ("rates", "on_rejections", "scores", "calibrations", "margin")
    log = in_blocks.open_log(s, "frontier_settings.json", free)
    combinations = {one.name: one for one in s.grid.combinations}
    for one in {one.array: one for one in combinations.values()}.values():
        turns = s.plan.full_turns if one.calibration == "per_turn" else 1
        rate = {"rejection_rate": one.rate} if turns > 1 else {}
        more = {"turns": turns, "ppl_array_path": _array(s, one), "on_rejection": one.on_rejection, "score": one.score}
        await in_blocks.calibrate_once(s, log, one.array, **more, **rate)
    names = [*ALONE, *combinations]

    async def run(name: str, block: Block) -> Path:
        common = {"max_problems": block.last, "output_dir": s.output.output_dir / name}
        if name in ALONE:
            alone = in_blocks.alone(s, of_target=name == "target")
            return await evaluate_alone(settings_of(BaselineSettings, s, **common, **alone))
        one = combinations[name]
        more = {
            "turns": s.plan.token_budget,  # every turn writes something, so the budget ends a sample before
            "rejection_rate": one.rate,
            "on_rejection": one.on_rejection,
            "score": one.score,
            "calibration": one.calibration,
            "ppl_array_path": _array(s, one),
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
