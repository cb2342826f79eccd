"""Result folders and recordings as they are graded: samples, their references, and what is missing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.analysis.grading import finished
from ATTS.errors import UserError
from ATTS.store.recording import read_results
from ATTS.store.records import Record
from ATTS.store.result_folder import SETTINGS, SUMMARY, samples
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question

REPEATS = 16  # of folders that don't say, as the published ones don't


@dataclass(frozen=True)
class Folder:
    """A result folder, one of this project's or a published one, or a recording. ``samples`` are those that ended
    by themselves."""

    path: Path
    samples: list[Record]
    references: list[str]  # a sample's right answer each
    repeats: int
    expected: int  # samples that the folder should hold
    by_compat: bool  # written by the published driver or as it writes: chunks joined by blank lines

    @property
    def missing(self) -> int:
        return self.expected - len(self.samples)

    @property
    def problems(self) -> list[str]:
        return [str(sample.get("question", "")) for sample in self.samples]


def load(path: Path, dataset_name: str | None, repeats: int | None, data_dir: Path | None) -> Folder:
    """Reads a folder or a recording; the references are those of ``dataset_name``, else those in the samples.

    Raises UserError.
    """
    if not path.exists():
        raise UserError(f"{path} is neither a result folder nor a recording")
    found = finished(samples(path)) if path.is_dir() else read_results(path)
    if not found:
        raise UserError(f"{path} holds no finished samples (problem_XXXX.json)")
    made = _json(path / SETTINGS).get("settings", {})
    repeats = repeats or made.get("repeats", REPEATS)
    last = found[-1]["problem_index"] // repeats
    questions = None
    if dataset_name:
        most = last + 1 if dataset_name == datasets.DEMO else 0  # demo problems are endless
        questions = datasets.load(dataset_name, data_dir, seed=made.get("seed", 0), max_problems=most)
        if last >= len(questions):
            raise UserError(
                f"{path} has a sample of question {last}, but {dataset_name} has {len(questions)} questions: check"
                f" --dataset_name and --repeats {repeats}"
            )
        for sample in found if path.is_file() else ():
            number = sample["problem_index"] // repeats
            if questions[number].problem not in sample["question"]:
                raise UserError(
                    f"question {number} of {path} is another one than {dataset_name}'s: check --dataset_name and"
                    f" --repeats {repeats}"
                )
        references = [questions[s["problem_index"] // repeats].answer for s in found]
    elif all("reference_answer" in s for s in found):
        references = [s["reference_answer"] for s in found]
    else:
        raise UserError(f"{path} holds samples without a reference answer: give --dataset_name")
    expected = max(_expected(path, made, questions, repeats), len(found))
    return Folder(path, found, references, repeats, expected, "schema" not in found[0] or bool(made.get("compat")))


def _expected(path: Path, made: dict[str, Any], questions: list[Question] | None, repeats: int) -> int:
    """Samples of the whole run: as its summary says, else by its settings and the data set as far as known. Of a
    recording, those that it holds."""
    if path.is_file():
        return 0
    summary = _json(path / SUMMARY)
    if summary:
        return int(summary["samples"] + summary["owed"])
    numbers = (p.stem.removeprefix("problem_") for p in path.glob("problem_*.json"))
    count = max(int(number) for number in numbers if number.isdigit()) // repeats + 1
    demo = made.get("dataset_name") == datasets.DEMO
    if questions is not None and not demo:
        count = len(questions)
        if made.get("calibration_split"):
            count -= round(made["calibration_split"] * count)
    most = made.get("max_problems") or (datasets.DEMO_DEFAULT if demo else 0)
    if most and (demo or questions is None):
        count = most
    elif most:
        count = min(most, count)
    return count * repeats


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
