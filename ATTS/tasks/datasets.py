"""The data sets, by name: from the hub, from local folders, from a JSONL file, or made here.

Hub ids, subsets, sizes and seeds are those of the published system, so question numbers agree with
its result files. The one difference: GPQA's choices are shuffled (there, A is always right).
"""

import itertools
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ATTS.demo import family
from ATTS.errors import UserError
from ATTS.method import prompts
from ATTS.tasks import own_files
from ATTS.tasks.rows import Row, read_jsonl, read_parquet


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
    return lambda row: (row.text(problem), row.text(answer).strip())


def _olympiad(row: Row) -> tuple[str, str]:
    answers = row.fields["final_answer"]
    if not isinstance(answers, list) or not answers:
        raise UserError(f"{row.where}: final_answer must be a list with an answer")
    return row.text("question"), row.plain(answers[0], "final_answer").strip("$ ")


def _s1(row: Row) -> tuple[str, str]:
    from ATTS.tasks.answers import find_boxed

    solution = row.text("solution")
    return row.text("question"), find_boxed(solution) or solution.strip()


def _gsm8k(row: Row) -> tuple[str, str]:
    answer = row.text("answer").rpartition("####")[2].strip().replace(",", "")
    return row.text("question"), row.plain(answer, "answer behind ####")


SOURCES = {
    "aime24": _Source("simplescaling/aime24_nofigures", "train", _fields("problem", "answer"), select=_first(15)),
    "aime25": _Source("simplescaling/aime25_nofigures", "train", _fields("problem", "answer"), select=_first(15)),
    "amc23": _Source("AI-MO/aimo-validation-amc", "train", _fields("problem", "answer"), select=_first(50)),
    "math500": _Source(
        "HuggingFaceH4/MATH-500", "test", _fields("problem", "answer"), select=_sample(100, 42), group="subject"
    ),
    "math500_easy": _Source(
        "HuggingFaceH4/MATH-500",
        "test",
        _fields("problem", "answer"),
        keep=lambda row: str(row.fields["level"]) in ("1", "2"),
        group="subject",
    ),
    "olympiad": _Source(
        "Hothan/OlympiadBench",
        "train",
        _olympiad,
        subset="OE_TO_maths_en_COMP",
        keep=lambda row: row.fields["answer_type"] == "Numerical" and not row.fields["is_multiple_answer"],
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
        _gsm8k,
        subset="main",
        select=_sample(100, 42),
    ),
}
ALIASES = {"amc": "amc23"}
DEMO = "demo"
DEMO_DEFAULT = 100  # demo problems are endless; this many unless told otherwise
NAMES = (*SOURCES, DEMO)
GPQA_SEED = 0
PUBLISHED_GPQA_ANSWER = "A"  # there the choices are not shuffled


def canonical(name: str) -> str:
    """The name that file names and settings use."""
    return ALIASES.get(name, name)


def content(name: str) -> dict[str, str]:
    """What names a person's own file by its questions, whatever its path; nothing for a data set with a name."""
    if not name.endswith(".jsonl"):
        return {}
    ids = "\n".join(question.id for question in load(name))
    return {"questions": sha256(ids.encode()).hexdigest()[:16]}


def load(
    name: str, data_dir: Path | None = None, max_problems: int = 0, seed: int = 0, demo_split: str = "test"
) -> list[Question]:
    """The questions of a data set, the first ``max_problems`` of them if that is not 0.

    ``name`` is one of NAMES or a JSONL file (own_files.py).
    ``seed`` draws demo problems. Raises UserError.
    """
    name = canonical(name)
    if name == DEMO:
        drawn = itertools.islice(family.problems(demo_split, seed), max_problems or DEMO_DEFAULT)
        return [Question(i, problem.question, problem.answer) for i, problem in enumerate(drawn)]
    if name in SOURCES:
        questions = _from_source(name, SOURCES[name], data_dir)
    elif name.endswith(".jsonl"):
        questions = [Question(i, *fields) for i, fields in enumerate(own_files.read(Path(name)))]
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
        kinds = [str(row.fields.get(source.group, "")) if source.group else "" for row in chosen]
        return [Question(i, *source.read(row), group=kinds[i]) for i, row in enumerate(chosen)]
    except KeyError as error:
        raise UserError(f"data set {name!r} ({source.hub_id}) lacks a column: {error}") from None


def _gpqa(index: int, row: Row) -> Question:
    columns = ("Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3)))
    texts = [row.text(column).strip() for column in columns]
    order = random.Random(f"{GPQA_SEED}:{index}").sample(range(4), 4)
    letter = prompts.LETTERS[order.index(0)]
    return Question(index, row.text("Question").strip(), letter, tuple(texts[i] for i in order))


def _hub_rows(source: _Source) -> list[Row]:
    import datasets  # takes seconds to import; local folders don't need it
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.disable_progress_bars()  # its own lines about downloads and splits are no output of a run
    disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        rows = list(datasets.load_dataset(source.hub_id, source.subset, split=source.split))
    except Exception as error:  # the hub client raises many kinds, offline ones among them
        raise UserError(
            f"{source.hub_id} could not be loaded from the hub or its cache ({type(error).__name__}: {error});"
            " without a network, give a local copy with --data_dir"
        ) from error
    return [Row(f"{source.hub_id}, row {number}", row) for number, row in enumerate(rows, 1)]


def _local_rows(source: _Source, data_dir: Path) -> list[Row]:
    folder = data_dir / source.hub_id / (source.subset or "")
    for suffix, read in ((".jsonl", read_jsonl), (".parquet", read_parquet)):
        path = folder / f"{source.split}{suffix}"
        if path.is_file():
            return list(read(path))
    raise UserError(f"no {source.split}.jsonl or {source.split}.parquet in {folder}")


def split_for_calibration(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """(calibration, evaluation): disjoint, drawn by seed, each in the data set's order.

    Questions of the same content are drawn together, so that none is on both sides.
    """
    ids = list(dict.fromkeys(question.id for question in questions))
    count = round(share * len(ids))
    if not 0 < count < len(ids):
        raise UserError(
            f"a calibration split of {share:g} leaves {count} of {len(ids)} questions for calibration;"
            " both sides need at least one"
        )
    chosen = {ids[i] for i in random.Random(f"split:{seed}").sample(range(len(ids)), count)}
    return (
        [question for question in questions if question.id in chosen],
        [question for question in questions if question.id not in chosen],
    )


def duplicates(questions: Sequence[Question]) -> list[list[int]]:
    """Numbers of the questions that have the same content, those of one content together."""
    by_id: dict[str, list[int]] = {}
    for question in questions:
        by_id.setdefault(question.id, []).append(question.index)
    return [numbers for numbers in by_id.values() if len(numbers) > 1]


def default_data_dir() -> Path | None:
    """``ATTS_DATA_DIR``, if it is set."""
    folder = os.environ.get("ATTS_DATA_DIR")
    return Path(folder) if folder else None
