"""Grade a result folder, one of this project's or a published one.

python -m ATTS.compute_accuracy --output_dir results/... [--dataset_name math500] [--judge both] [--json]
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.problem import Problem
from ATTS.runs import calibration, cli, folders, judging, metrics, report
from ATTS.runs.records import Record
from ATTS.runs.settings.parts import default_data_dir, require


@dataclass(frozen=True, kw_only=True)
class AccuracySettings(judging.JudgeSettings):
    """Flags of compute_accuracy."""

    output_dir: Path
    """The result folder."""

    dataset_name: str | None = None
    """Data set with the right answers, or a .jsonl file with 'problem' and 'answer'; default: those stored with
    the samples."""

    repeats: int | None = None
    """Samples of every question; default: the folder's own, else 16."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    ppl_array_path: Path | None = None
    """Calibration array that the run is said to have used: every percentile is computed again from it."""

    per_question: bool = False
    """Print a row for every question, too."""

    json: bool = False
    """Print JSON, with a row for every question."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.repeats is None or self.repeats >= 1, "--repeats must be at least 1")


async def grade(settings: AccuracySettings) -> str:
    data_dir = settings.data_dir or default_data_dir()
    folder = folders.load(settings.output_dir, settings.dataset_name, settings.repeats, data_dir)
    result: dict[str, Any] = {}
    if settings.ppl_array_path:
        result["percentiles_reproduced"] = belongs(settings.ppl_array_path, folder.samples, folder.repeats)
    result |= {"samples": len(folder.samples), "missing": folder.missing}
    result |= await judging.graded(folder, settings)
    result |= metrics.work(folder.samples)
    return json.dumps(result, indent=1) if settings.json else report.accuracy(result, settings.per_question)


def belongs(path: Path, found: Sequence[Record], repeats: int) -> int:
    """Number of percentiles that the array gives again, all of them. Raises Problem if it gives others."""
    again = calibration.recompute(calibration.load(path, per_question=None).scores, found, repeats)
    if not again.recorded:
        raise Problem(f"these samples record no percentile, so {path} can't be checked against them")
    if again.difference is not None:
        raise Problem(
            f"{path} is not the array that these samples were decided with: it gives {again.equal} of"
            f" {again.recorded} recorded percentiles; {again.difference}"
        )
    return again.recorded


if __name__ == "__main__":
    cli.run(AccuracySettings, __doc__, grade)
