"""Grade a result folder, one of this project's or a published one.

python -m ATTS.compute_accuracy --output_dir results/... [--dataset_name math500] [--json]
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ATTS.problem import Problem
from ATTS.runs import cli, metrics
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
    result = metrics.accuracy(found, references, repeats)
    result["samples"], result["missing"] = len(found), result["questions"] * repeats - len(found)
    if settings.json:
        return json.dumps(result, indent=1)
    return (
        f"mean accuracy {metrics.percent(result['mean_accuracy'])} ({metrics.percent(result['low'])} -"
        f" {metrics.percent(result['high'])}, 95 %), pass@{repeats} {metrics.percent(result[f'pass_at_{repeats}'])},"
        f" majority {metrics.percent(result['majority'])}; {result['questions']} questions, {result['samples']} samples"
        f" ({result['missing']} missing, {result['unanswered']} without an answer, {result['undecided']} undecided)"
    )


if __name__ == "__main__":
    cli.run(AccuracySettings, __doc__, grade)
