"""Result folders and recordings as they are graded: samples, their references, and what is missing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ATTS.analysis import matching
from ATTS.analysis.grading import finished
from ATTS.errors import UserError
from ATTS.flags import Part, Positive
from ATTS.store import result_folder
from ATTS.store.recording import read_results
from ATTS.store.records import Record
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question

REPEATS = 16  # of folders that don't say, as the published ones don't
Value = TypeVar("Value", int, float, str, bool)


@dataclass(frozen=True)
class Folder:
    """A result folder, one of this project's or a published one, or a recording. ``samples`` are those that ended
    by themselves, each with the number of its question in the data set as ``question_index``."""

    path: Path
    samples: list[Record]
    references: list[str]  # a sample's right answer each
    repeats: int
    expected: int  # samples that the folder should hold
    by_compat: bool  # written by the published driver or as it writes: chunks joined by blank lines

    @property
    def missing(self) -> int:
        """Samples that the run should have and the folder has not."""
        return self.expected - len(self.samples)

    @property
    def problems(self) -> list[str]:
        """The text of each sample's question; "" where a sample doesn't say."""
        return [str(sample.get("question", "")) for sample in self.samples]


class Truth(Part):
    """Where the right answers are."""

    dataset_name: str | None = None
    """Data set with the right answers, or a .jsonl file with 'problem' and 'answer'; default: those stored with
    the samples. Published folders and recordings hold none."""

    repeats: Positive[int | None] = None
    """Samples of every question; default: the folder's own, else 16."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    @property
    def given(self) -> tuple[str | None, int | None, Path | None]:
        """As :func:`load` takes it."""
        return self.dataset_name, self.repeats, self.data_dir or datasets.default_data_dir()


def load(
    path: Path,
    dataset_name: str | None,
    repeats: int | None,
    data_dir: Path | None,
    each: Callable[[Record], Record] = lambda sample: sample,
) -> Folder:
    """Reads a folder or a recording; the references are those of ``dataset_name``, else those in the samples.

    ``each``: what is kept of a sample, so that a folder larger than the memory can be read. Raises UserError.
    """
    if not path.exists():
        raise UserError(f"{path} is neither a result folder nor a recording")
    records = finished(map(each, read(path)))
    if not records:
        raise UserError(f"{path} holds no finished samples (problem_XXXX.json)")
    stored = result_folder.settings(path) if path.is_dir() else {}
    own = _setting(stored, "repeats", 0)
    if repeats and own and repeats != own:
        raise UserError(
            f"{path} was made with {own} repeats of every question, by its {result_folder.SETTINGS}: omit --repeats"
        )
    assumed = repeats or own or REPEATS
    published = "schema" not in records[0]
    questions = None
    if dataset_name:
        questions = _questions(datasets.canonical(dataset_name), records, stored, assumed, data_dir)
        those = matching.matched(records, questions, assumed, dataset_name, path)
        numbers = [question.index for question in those]
        references = [question.answer for question in those]
        if published and datasets.canonical(dataset_name) == "gpqa":
            references = [datasets.PUBLISHED_GPQA_ANSWER] * len(records)
    else:
        numbers = matching.numbers(records, assumed)
        references = _stored(path, records, numbers)
    if not (repeats or own):
        assumed = matching.repeats_of(records, numbers, REPEATS)
    expected = max(_expected(path, stored, questions, assumed), len(records))
    by_compat = published or bool(stored.get("compat"))
    placed: list[Record] = [
        {**sample, "question_index": number} for sample, number in zip(records, numbers, strict=True)
    ]
    return Folder(path, placed, references, assumed, expected, by_compat)


def read(path: Path) -> Iterable[Record]:
    """The samples of a folder, one after the other, or of a recording. Raises UserError."""
    return result_folder.samples(path) if path.is_dir() else read_results(path)


def _questions(
    name: str, samples: list[Record], settings: dict[str, Any], repeats: int, data_dir: Path | None
) -> list[Question]:
    """All of the data set; of demo problems, which are endless, those up to the last sample's."""
    most = 0
    if name == datasets.DEMO:
        most = max(s.get("question_index", s["problem_index"] // repeats) for s in samples) + 1
    return datasets.load(name, data_dir, seed=_setting(settings, "seed", 0), max_problems=most)


def _stored(path: Path, samples: list[Record], numbers: list[int]) -> list[str]:
    """The references that the samples hold. Raises UserError if there are none, or two for one question."""
    references: dict[int, str] = {}
    for sample, number in zip(samples, numbers, strict=True):
        if "reference_answer" not in sample:
            raise UserError(f"{path} holds samples without a reference answer: give --dataset_name")
        known = references.setdefault(number, sample["reference_answer"])
        if known != sample["reference_answer"]:
            raise UserError(
                f"samples of question {number} in {path} hold two reference answers, {known!r} and"
                f" {sample['reference_answer']!r}: give --dataset_name, or the run's command again, which corrects them"
            )
    return [references[number] for number in numbers]


def _expected(path: Path, settings: dict[str, Any], questions: list[Question] | None, repeats: int) -> int:
    """Samples of the whole run: as its summary says, else by its settings and the data set as far as known. Of a
    recording, those that it holds."""
    if path.is_file():
        return 0
    summary = result_folder.summary(path)
    if summary:
        return int(summary["samples"] + summary["owed"])
    count = int(result_folder.paths(path)[-1].stem.removeprefix("problem_")) // repeats + 1
    demo = settings.get("dataset_name") == datasets.DEMO
    if questions is not None and not demo:
        count = len(questions)
        share = _setting(settings, "calibration_split", 0.0)
        if 0 < share < 1:
            count = len(datasets.split_for_calibration(questions, share, _setting(settings, "seed", 0))[1])
    most = _setting(settings, "max_problems", 0) or (datasets.DEMO_DEFAULT if demo else 0)
    if most and (demo or questions is None):
        count = most
    elif most:
        count = min(most, count)
    return count * repeats


def _setting(settings: dict[str, Any], name: str, default: Value) -> Value:
    """A setting of the run, ``default`` where it is missing or of another kind, as another program's may be."""
    value = settings.get(name)
    return value if isinstance(value, type(default)) and not isinstance(value, bool) else default
