"""Which question of a data set a sample is of: by what the sample holds, whatever its number."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ATTS.errors import UserError
from ATTS.store.records import Record
from ATTS.tasks.datasets import Question

SHOWN = 60  # characters of a question in a message


def matched(
    samples: Sequence[Record], questions: Sequence[Question], repeats: int, name: str, folder: Path
) -> list[Question]:
    """The question of each sample: by ``question_id`` where this project wrote it, else by its text, else by number.

    Raises UserError for a sample whose question is not in the data set called ``name``.
    """
    by_id: dict[str, list[Question]] = {}
    by_text: dict[str, list[Question]] = {}
    for question in questions:
        by_id.setdefault(question.id, []).append(question)
        by_text.setdefault(_words(question.problem), []).append(question)
    numbers = []
    for sample in samples:
        index, text = sample["problem_index"], _words(sample.get("question"))
        place = sample.get("question_index", index // repeats)
        known = by_id.get(sample.get("question_id", ""), [])
        if not known and not ("schema" in sample and "question_id" in sample):
            there = [q for q in questions if q.index == place and _words(q.problem) in text] if text else []
            known = by_text.get(text, there) if text else [q for q in questions if q.index == place]
        if not known:
            raise UserError(_stranger(f"sample {index} of {folder}", text, place, name, len(questions), repeats))
        numbers.append(_one(known, place, f"sample {index} of {folder}", name))
    return numbers


def _one(known: Sequence[Question], place: int, sample: str, name: str) -> Question:
    """Of questions that are alike the one with the sample's number. Raises UserError if it matters and none has it."""
    here = [question for question in known if question.index == place]
    if not here and len({question.answer for question in known}) > 1:
        numbers = ", ".join(str(question.index) for question in known)
        raise UserError(
            f"{sample} could be of question {numbers} in {name}, which have the same text and other answers"
        )
    return (here or known)[0]


def _stranger(sample: str, text: str, place: int, name: str, count: int, repeats: int) -> str:
    if text:
        short = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
        return (
            f"{sample} is of a question that {name} doesn't hold ({short!r}): give the data set of"
            " the run with --dataset_name"
        )
    return (
        f"{sample} is of question {place} (it tells no text), but {name} has {count} questions: check --dataset_name"
        f" and --repeats {repeats}"
    )


def numbers(samples: Sequence[Record], repeats: int) -> list[int]:
    """The samples' questions without a data set: as they tell, else by sample number, unless their texts say that
    another number of repeats was run; then by text, in the order of the samples."""
    if all("question_index" in sample for sample in samples):
        return [sample["question_index"] for sample in samples]
    texts = [_words(sample.get("question")) for sample in samples]
    places = [sample["problem_index"] // repeats for sample in samples]
    if not all(texts) or len(set(zip(places, texts, strict=True))) == len(set(places)) == len(set(texts)):
        return places
    order = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return [order[text] for text in texts]


def repeats_of(samples: Sequence[Record], questions: Sequence[int], usual: int) -> int:
    """The repeats that put every sample at its question; where none do, the most samples that a question has."""
    pairs = [(sample["problem_index"], question) for sample, question in zip(samples, questions, strict=True)]
    largest: int = max(Counter(questions).values())
    tried = (usual, *range(largest, 2 * largest + 1))
    fits = (repeats for repeats in tried if all(place // repeats == question for place, question in pairs))
    return next(fits, largest)


def _words(text: object) -> str:
    """A question's text whatever its spaces; nothing for a text without a letter or digit, which tells no question."""
    words = str(text or "").split()
    return " ".join(words) if any(map(str.isalnum, "".join(words))) else ""
