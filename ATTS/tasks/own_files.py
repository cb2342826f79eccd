"""A person's own data set: a JSON-lines file, each line checked before any work is done with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.method.prompts import LETTERS
from ATTS.tasks.rows import Row, read_jsonl

Fields = tuple[str, str, tuple[str, ...], str]  # problem, answer, choices, group


def read(path: Path) -> list[Fields]:
    """Raises UserError, with the line."""
    if not path.is_file():
        raise UserError(f"data set file {path} does not exist")
    return [_fields(row) for row in read_jsonl(path)]


def _fields(row: Row) -> Fields:
    missing = [key for key in ("problem", "answer") if row.fields.get(key) in (None, "")]
    if missing:
        raise UserError(f"{row.where}: no {' and no '.join(missing)}")
    problem, answer = row.text("problem"), row.text("answer").strip()
    labels, choices = _choices(row)
    if choices:
        answer = _letter(row, answer, labels, len(choices))
    group = row.fields.get("group")
    return problem, answer, choices, "" if group in (None, "") else row.plain(group, "group")


def _choices(row: Row) -> tuple[list[str], tuple[str, ...]]:
    """Labels and texts of the choices, in the order of the letters if their labels are these. Raises UserError."""
    given = row.fields.get("choices")
    if given in (None, "", [], {}):
        return [], ()
    labels, texts = _labelled(row, given)
    if not texts:
        return [], ()
    if not 2 <= len(texts) <= len(LETTERS):
        raise UserError(
            f"{row.where}: {len(texts)} choice{'s' if len(texts) > 1 else ''}; a multiple-choice question has 2 to"
            f" {len(LETTERS)}, lettered {LETTERS[0]}-{LETTERS[-1]}"
        )
    if len(set(labels)) < len(labels):
        raise UserError(f"{row.where}: two choices have the same label")
    choices = list(zip(labels, texts, strict=True))
    if sorted(labels) == list(LETTERS[: len(labels)]):
        choices.sort()
    return [label for label, _ in choices], tuple(text for _, text in choices)


def _labelled(row: Row, given: Any) -> tuple[list[str], list[str]]:
    """The layouts that public data sets have: a list of texts or of labelled texts, two lists, a text a label."""
    if isinstance(given, list) and all(isinstance(one, dict) and one.keys() >= {"label", "text"} for one in given):
        labels, texts = [one["label"] for one in given], [one["text"] for one in given]
    elif isinstance(given, list):
        labels, texts = [*LETTERS, *map(str, range(len(LETTERS), len(given)))][: len(given)], given
    elif isinstance(given, dict) and given.keys() == {"label", "text"}:
        labels, texts = given["label"], given["text"]
        if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
            raise UserError(f"{row.where}: the choices must have a list of texts and as long a list of labels")
    elif isinstance(given, dict):
        labels, texts = list(given), list(given.values())
    else:
        raise UserError(
            f"{row.where}: choices must be a list of texts, an object with a text for every letter, or an object with"
            " two lists, text and label"
        )
    named = [row.plain(label, "label of a choice").strip().upper() for label in labels]
    return named, [row.plain(text, f"choice {label}") for label, text in zip(named, texts, strict=True)]


def _letter(row: Row, answer: str, labels: Sequence[str], count: int) -> str:
    """The letter of the right choice. Raises UserError if ``answer`` is no label."""
    if answer.upper() in labels:
        return LETTERS[labels.index(answer.upper())]
    own = list(labels) == list(LETTERS[:count])
    what = f"a letter {LETTERS[0]}-{LETTERS[count - 1]}" if own else f"one of their labels ({', '.join(labels)})"
    raise UserError(f"{row.where}: the answer to a multiple-choice question is {what}, not {answer!r}")
