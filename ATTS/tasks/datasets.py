"""The data sets, by name: from the hub, from local folders, from a JSONL file, or made here.

Hub ids, subsets, sizes and seeds are those of the published system, so question numbers agree with
its result files. The one difference: GPQA's choices are shuffled (there, A is always right).
"""

import itertools
import json
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ATTS.demo import family
from ATTS.errors import UserError
from ATTS.method import prompts

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a data set; ``index`` is its place there and never depends on what is run."""

    index: int
    problem: str
    answer: str
    choices: tuple[str, ...] = ()
    group: str = ""  # its kind, for calibration by group

    @property
    def id(self) -> str:
        """Names the question by its content, whatever its place."""
        return sha256("\0".join((self.problem, *self.choices)).encode()).hexdigest()[:16]

    @property
    def prompt(self) -> str:
        """The user turn."""
        if self.choices:
            return prompts.multiple_choice(self.problem, self.choices)
        return prompts.maths(self.problem)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where rows come from, which of them are used, and how a row becomes a question."""

    hub_id: str
    split: str
    read: Callable[[Row], tuple[str, str]]  # problem and answer
    subset: str | None = None
    keep: Callable[[Row], bool] = lambda _: True
    select: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows
    group: str | None = None  # the column that tells a question's kind


def _first(count: int) -> Callable[[Sequence[Row]], Sequence[Row]]:
    return lambda rows: rows[:count]


def _sample(count: int, seed: int) -> Callable[[Sequence[Row]], Sequence[Row]]:
    """The published draw: positions sampled without replacement, in the order drawn."""

    def select(rows: Sequence[Row]) -> Sequence[Row]:
        if len(rows) <= count:
            return rows
        return [rows[i] for i in random.Random(seed).sample(range(len(rows)), count)]

    return select


def _fields(problem: str, answer: str) -> Callable[[Row], tuple[str, str]]:
    return lambda row: (str(row[problem]), _plain(row[answer]))


def _plain(value: object) -> str:
    """Answers as text; a number that is whole loses its ".0"."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _s1(row: Row) -> tuple[str, str]:
    from ATTS.tasks.answers import find_boxed

    solution = str(row["solution"])
    return str(row["question"]), find_boxed(solution) or solution.strip()


SOURCES = {
    "aime24": _Source("simplescaling/aime24_nofigures", "train", _fields("problem", "answer"), select=_first(15)),
    "aime25": _Source("simplescaling/aime25_nofigures", "train", _fields("problem", "answer"), select=_first(15)),
    "amc23": _Source("AI-MO/aimo-validation-amc", "train", _fields("problem", "answer"), select=_first(50)),
    "math500": _Source(
        "HuggingFaceH4/MATH-500", "test", _fields("problem", "answer"), select=_sample(100, 42), group="subject"
    ),
    "olympiad": _Source(
        "Hothan/OlympiadBench",
        "train",
        lambda row: (str(row["question"]), str(row["final_answer"][0]).strip("$ ")),
        subset="OE_TO_maths_en_COMP",
        keep=lambda row: row["answer_type"] == "Numerical" and not row["is_multiple_answer"],
        select=_first(50),
        group="subfield",
    ),
    "gpqa": _Source(
        "Idavidrein/gpqa",
        "train",
        _fields("Question", "Correct Answer"),
        subset="gpqa_diamond",
        select=_first(60),
    ),
    "s1": _Source("simplescaling/s1K-1.1", "train", _s1, select=_sample(200, 43)),
    "gsm8k": _Source(
        "openai/gsm8k",
        "train",
        lambda row: (str(row["question"]), str(row["answer"]).rpartition("####")[2].strip().replace(",", "")),
        subset="main",
        select=_sample(100, 42),
    ),
}
ALIASES = {"amc": "amc23"}
DEMO = "demo"
DEMO_DEFAULT = 100  # demo problems are endless; this many unless told otherwise
NAMES = (*SOURCES, DEMO)
GPQA_SEED = 0


def canonical(name: str) -> str:
    """The name that file names and settings use."""
    return ALIASES.get(name, name)


def load(
    name: str, data_dir: Path | None = None, max_problems: int = 0, seed: int = 0, demo_split: str = "test"
) -> list[Question]:
    """The questions of a data set, the first ``max_problems`` of them if that is not 0.

    ``name`` is one of NAMES or a JSONL file with ``problem`` and ``answer`` (and ``choices`` for
    multiple choice, ``answer`` then being the right one's letter; ``group``, the question's kind).
    ``seed`` draws demo problems. Raises UserError.
    """
    name = canonical(name)
    if name == DEMO:
        drawn = itertools.islice(family.problems(demo_split, seed), max_problems or DEMO_DEFAULT)
        return [Question(i, problem.question, problem.answer) for i, problem in enumerate(drawn)]
    if name in SOURCES:
        questions = _from_source(name, SOURCES[name], data_dir)
    elif name.endswith(".jsonl"):
        questions = _from_file(Path(name))
    else:
        raise UserError(
            f"unknown data set {name!r}: known are {', '.join(NAMES)} (amc = amc23), or the path of a"
            " .jsonl file with 'problem' and 'answer' on every line"
        )
    if not questions:
        raise UserError(f"data set {name!r} holds no questions")
    return questions[:max_problems] if max_problems else questions


def _from_source(name: str, source: _Source, data_dir: Path | None) -> list[Question]:
    rows = _local_rows(source, data_dir) if data_dir else _hub_rows(source)
    try:
        chosen = source.select([row for row in rows if source.keep(row)])
        if name == "gpqa":
            return [_gpqa(i, row) for i, row in enumerate(chosen)]
        kinds = [str(row.get(source.group, "")) if source.group else "" for row in chosen]
        return [Question(i, *source.read(row), group=kinds[i]) for i, row in enumerate(chosen)]
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"data set {name!r} ({source.hub_id}) lacks a column: {error}") from None


def _gpqa(index: int, row: Row) -> Question:
    texts = [str(row[column]).strip() for column in ("Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3)))]
    order = random.Random(f"{GPQA_SEED}:{index}").sample(range(4), 4)
    letter = prompts.LETTERS[order.index(0)]
    return Question(index, str(row["Question"]).strip(), letter, tuple(texts[i] for i in order))


def _hub_rows(source: _Source) -> list[Row]:
    from datasets import load_dataset  # takes seconds to import; local folders don't need it

    try:
        return list(load_dataset(source.hub_id, source.subset, split=source.split))
    except Exception as error:  # the hub client raises many kinds, offline ones among them
        raise UserError(
            f"{source.hub_id} could not be loaded from the hub or its cache ({type(error).__name__}: {error});"
            " without a network, give a local copy with --data_dir"
        ) from error


def _local_rows(source: _Source, data_dir: Path) -> list[Row]:
    folder = data_dir / source.hub_id / (source.subset or "")
    for suffix, read in ((".jsonl", _read_jsonl), (".parquet", _read_parquet)):
        path = folder / f"{source.split}{suffix}"
        if path.is_file():
            return list(read(path))
    raise UserError(f"no {source.split}.jsonl or {source.split}.parquet in {folder}")


def _from_file(path: Path) -> list[Question]:
    if not path.is_file():
        raise UserError(f"data set file {path} does not exist")
    questions = []
    for index, row in enumerate(_read_jsonl(path)):
        missing = [key for key in ("problem", "answer") if row.get(key) in (None, "")]
        if missing:
            raise UserError(f"{path}, line {index + 1}: no {' and no '.join(missing)}")
        choices = tuple(str(choice) for choice in row.get("choices") or ())
        answer = _plain(row["answer"])
        if choices and answer not in prompts.LETTERS[: len(choices)]:
            raise UserError(
                f"{path}, line {index + 1}: the answer to a multiple-choice question is a letter"
                f" {prompts.LETTERS[0]}-{prompts.LETTERS[len(choices) - 1]}, not {answer!r}"
            )
        questions.append(Question(index, str(row["problem"]), answer, choices, str(row.get("group") or "")))
    return questions


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: not a JSON object")
            yield row


def _read_parquet(path: Path) -> Iterable[Row]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_table(path).to_pylist())


def split_for_calibration(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """(calibration, evaluation): disjoint, drawn by seed, each in the data set's order."""
    count = round(share * len(questions))
    if not 0 < count < len(questions):
        raise UserError(
            f"a calibration split of {share:g} leaves {count} of {len(questions)} questions for calibration;"
            " both sides need at least one"
        )
    chosen = set(random.Random(f"split:{seed}").sample(range(len(questions)), count))
    return (
        [question for i, question in enumerate(questions) if i in chosen],
        [question for i, question in enumerate(questions) if i not in chosen],
    )


def default_data_dir() -> Path | None:
    folder = os.environ.get("ATTS_DATA_DIR")
    return Path(folder) if folder else None
