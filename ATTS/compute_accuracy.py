"""Grade a result folder, one of this project's or a published one.

python -m ATTS.compute_accuracy --output_dir results/... [--dataset_name math500] [--json]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.problem import Problem
from ATTS.runs import calibration, cli, metrics
from ATTS.runs.metrics import percent
from ATTS.runs.records import Record
from ATTS.runs.settings import require
from ATTS.runs.store import SETTINGS, samples
from ATTS.tasks import datasets


@dataclass(frozen=True, kw_only=True)
class AccuracySettings:
    """Flags of compute_accuracy."""

    output_dir: Path
    """The result folder."""

    dataset_name: str | None = None
    """Data set with the right answers; default: those stored with the samples."""

    repeats: int | None = None
    """Samples of every question; default: the folder's own, else 16."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else the hub."""

    ppl_array_path: Path | None = None
    """Calibration array that the run is said to have used: every percentile is computed again from it."""

    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        require(self.repeats is None or self.repeats >= 1, "--repeats must be at least 1")


async def grade(settings: AccuracySettings) -> str:
    if not settings.output_dir.is_dir():
        raise Problem(f"{settings.output_dir} is not a folder")
    found = metrics.finished(samples(settings.output_dir))
    if not found:
        raise Problem(f"{settings.output_dir} holds no finished samples (problem_XXXX.json)")
    about = settings.output_dir / SETTINGS
    made = json.loads(about.read_text())["settings"] if about.is_file() else {}
    repeats = settings.repeats or made.get("repeats", 16)
    result: dict[str, Any] = {}
    if settings.ppl_array_path:
        result["percentiles_reproduced"] = belongs(settings.ppl_array_path, found, repeats)
    last = found[-1]["problem_index"]
    if settings.dataset_name:
        questions = datasets.load(
            settings.dataset_name,
            settings.data_dir,
            seed=made.get("seed", 0),
            max_problems=last // repeats + 1 if settings.dataset_name == datasets.DEMO else 0,
        )
        if last // repeats >= len(questions):
            raise Problem(
                f"{settings.output_dir} has a sample of question {last // repeats}, but {settings.dataset_name} has"
                f" {len(questions)} questions: check --dataset_name and --repeats {repeats}"
            )
        references = [questions[s["problem_index"] // repeats].answer for s in found]
    elif all("reference_answer" in s for s in found):
        references = [s["reference_answer"] for s in found]
    else:
        raise Problem(f"{settings.output_dir} holds samples without a reference answer: give --dataset_name")
    result |= metrics.accuracy(found, metrics.grade(found, references), repeats) | metrics.work(found)
    result["samples"], result["missing"] = len(found), result["questions"] * repeats - len(found)
    return json.dumps(result, indent=1) if settings.json else text(result, repeats)


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


def text(result: Mapping[str, Any], repeats: int) -> str:
    lines = [
        f"mean accuracy {percent(result['mean_accuracy'])} ({percent(result['low'])} - {percent(result['high'])},"
        f" 95 %), pass@{repeats} {percent(result[f'pass_at_{repeats}'])}, majority {percent(result['majority'])};"
        f" {result['questions']} questions, {result['samples']} samples ({result['missing']} missing,"
        f" {result['unanswered']} without an answer, {result['undecided']} undecided)"
    ]
    if result["scored"]:
        lines.append(
            f"rejected {percent(result['rejection_rate'])} of {result['scored']} scored chunks; {result['turns']:.2f}"
            " turns a sample"
        )
    if "percentiles_reproduced" in result:
        lines.append(f"the calibration array gives all {result['percentiles_reproduced']} recorded percentiles again")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(AccuracySettings, __doc__, grade)
