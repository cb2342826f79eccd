"""Calibration arrays on disk: loading safely, saving with provenance, refusing what doesn't fit."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.errors import UserError
from ATTS.method.score import MEAN, SCORES, Score, scoring
from ATTS.method.score import recorded as recorded_score
from ATTS.method.types import Stage
from ATTS.store import array_file, atomic
from ATTS.store.array_file import BY_TURN, Scores
from ATTS.store.provenance import UNTOLD as UNTOLD_SETTINGS
from ATTS.store.provenance import differences as changes
from ATTS.store.records import Record


@dataclass(frozen=True, slots=True)
class CalibrationArray:
    """Scores of shape (n,) (marginal, by turn) or (questions, samples) (conditional), and where they are from.

    ``provenance`` is None for an array without its JSON file, such as a published one. ``turns`` and
    ``questions``, of the scores' shape, are there for an array by turn. A conditional row with fewer scores
    than samples, which the JSON file tells, ends in NaN.
    """

    scores: Scores
    digest: str
    provenance: dict[str, Any] | None
    turns: NDArray[np.int32] | None = None
    questions: NDArray[np.int32] | None = None

    @property
    def by_turn(self) -> dict[int, Scores]:
        """The scores of each turn, of an array by turn."""
        assert self.turns is not None
        return {int(turn): self.scores[self.turns == turn] for turn in np.unique(self.turns)}

    @property
    def questions_by_turn(self) -> dict[int, NDArray[np.int32]]:
        """Of each score in :attr:`by_turn` its question."""
        assert self.turns is not None
        assert self.questions is not None
        return {int(turn): self.questions[self.turns == turn] for turn in np.unique(self.turns)}

    @property
    def groups(self) -> NDArray[np.str_] | None:
        """The group of each score's question; None if the array doesn't tell groups."""
        about = self.provenance or {}
        if not about.get("groups"):
            return None
        return np.repeat(np.array(about["groups"]), about.get(COUNTS) or len(self.scores) // len(about["groups"]))

    @property
    def by_group(self) -> dict[str, Scores]:
        """The scores of each group of questions, question by question; empty if the array doesn't tell groups."""
        groups = self.groups
        return {} if groups is None else {str(group): self.scores[groups == group] for group in np.unique(groups)}

    def clusters(self, sample_size: int) -> NDArray[np.int_]:
        """Which question each score of a marginal array is of; a published array, which doesn't tell, has
        ``sample_size`` a question."""
        about = self.provenance or {}
        if counts := about.get(COUNTS):
            return np.repeat(np.arange(len(counts)), counts)
        size = about.get("sample_size", sample_size)
        return np.arange(len(self.scores)) // (size if len(self.scores) % size == 0 else 1)

    @property
    def score(self) -> Score:
        """How its chunks were scored; an array that doesn't tell holds perplexities."""
        made_for = (self.provenance or {}).get("made_for", {})
        name = made_for.get("score", MEAN.name)
        return scoring(name if name in SCORES else MEAN.name, self.score_window)

    @property
    def score_window(self) -> int | None:
        """Tokens of the window that its scores are of; None for scores of another kind."""
        window = (self.provenance or {}).get("made_for", {}).get("score_window")
        return None if window is None else int(window)

    def of_row(self, row: int) -> Scores:
        """What a conditional array compares a question's chunks with: its own scores; those of all questions if
        it has fewer than half of the samples that were asked for, because its draft ends within a chunk."""
        own = self.scores[row][np.isfinite(self.scores[row])]
        return own if _enough(len(own), self.scores.shape[1]) else self.scores[np.isfinite(self.scores)]


# What arrays were made with that don't tell: those of versions without these settings.
UNTOLD = {
    "score": MEAN.name,
    "answer_after_think": False,
    "thinking": "default",
    "extract_mode": "regex",
    **UNTOLD_SETTINGS,
}


COUNTS = "scores_by_question"  # in the JSON file: how many scores each question has


def differences(about: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Where what an array was made for, by its JSON file, differs from what is ``wanted``, a line each."""
    lines = changes(UNTOLD | about.get("made_for", {}), wanted)
    if COUNTS not in about and "scores_by_turn" not in about:
        lines.append("it holds scores of first chunks that answer or end, too, which no run scores: calibrate again")
    return lines


def _enough(count: int, samples: int) -> bool:
    return 2 * count >= samples


def compared(counts: Sequence[int], samples: int) -> list[int]:
    """How many scores :meth:`CalibrationArray.of_row` gives for rows with so many of their own."""
    return [count if _enough(count, samples) else sum(counts) for count in counts]


def provenance_path(path: Path) -> Path:
    """Beside the array; a path without .npy keeps all of its name, so that no two share one."""
    return path.with_suffix(".json") if path.suffix == ".npy" else path.with_name(f"{path.name}.array.json")


def digest(scores: NDArray[Any]) -> str:
    """Names the scores' content, whatever file they are in."""
    kind = BY_TURN if scores.dtype.names else np.dtype("<f8")
    return sha256(str(scores.shape).encode() + np.ascontiguousarray(scores, dtype=kind).tobytes()).hexdigest()[:16]


def save(path: Path, scores: NDArray[Any], provenance: Mapping[str, Any]) -> None:
    """Writes the array and, beside it, the JSON file that says how it was made. The array comes last: while there is
    none, nothing is made. Raises OSError."""
    buffer = io.BytesIO()
    np.save(buffer, scores, allow_pickle=False)
    about = {**provenance, "shape": list(scores.shape), "digest": digest(scores)}
    atomic.write(provenance_path(path), json.dumps(about, indent=2, sort_keys=True).encode() + b"\n")
    atomic.write(path, buffer.getvalue())


def load(path: Path, per_question: bool | None, per_turn: bool = False) -> CalibrationArray:
    """Reads and checks an array; ``per_question`` None takes either kind. Raises UserError.

    Marginal arrays have one dimension; conditional ones have a row a question, or are the published
    pickled dictionary, which is read by an interpreter that can build numbers and lists and nothing
    else. Arrays by turn have named columns.
    """
    command = f"ref_conformal{'_per_question' if per_question else ' --turns N' if per_turn else ''}"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"calibration array {path} does not exist; make it with python -m ATTS.{command} (same models, data"
            " set and settings), or name another with --ppl_array_path"
        ) from None
    except OSError as error:
        raise UserError(f"calibration array {path} can't be read: {error}") from None
    whole = array_file.parse(path, raw)
    columns = whole.dtype.names is not None
    if per_question is not None and columns != per_turn:
        raise UserError(
            f"{path} holds scores by turn, which only --calibration per_turn and adaptive use"
            if columns
            else f"{path} doesn't tell turns; make one that does with python -m ATTS.{command}"
        )
    scores: Scores = whole["score"] if columns else whole
    kind = {1: "marginal (one set of scores)", 2: "per question (one row a question)"}
    if scores.ndim not in kind:
        raise UserError(f"{path} has shape {scores.shape}, which is no calibration array")
    if per_question is not None and scores.ndim != 1 + per_question:
        raise UserError(
            f"{path} has shape {scores.shape}, which is {kind[scores.ndim]}; {kind[1 + per_question]} is needed here,"
            f" use {'ref_async' if per_question else 'ref_async_per_question'}"
        )
    if scores.size == 0:
        raise UserError(f"{path} is empty")
    about = _read_provenance(path, whole)
    turns, of = (whole["turn"], whole["question"]) if columns else (None, None)
    array = CalibrationArray(scores, digest(whole), about, turns, of)
    bad = ~np.isfinite(scores)
    if scores.ndim == 2 and about is not None and COUNTS in about:
        bad &= np.arange(scores.shape[1]) < np.array(about[COUNTS])[:, None]
    if bad.any():
        raise UserError(
            f"{path} holds {int(bad.sum())} scores of {scores.size} that are not finite: it was made by a"
            " run whose scoring failed; make it again"
        )
    least = array.score.least
    if (scores < least - 1e-6).any():
        raise UserError(
            f"{path} holds scores below {least:g}, the smallest {array.score.key} there is (smallest:"
            f" {np.nanmin(scores):g})"
        )
    return array


def _read_provenance(path: Path, whole: NDArray[Any]) -> dict[str, Any] | None:
    """The JSON file beside an array. Raises UserError if it is of another array."""
    beside = provenance_path(path)
    if not beside.is_file():
        return None
    try:
        about = dict(json.loads(beside.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{beside} is not JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{beside} can't be read: {error.strerror}") from None
    if about.get("digest") != digest(whole):
        raise UserError(
            f"{path} is not the array that {beside.name} beside it describes (digest {digest(whole)}, there"
            f" {about.get('digest')})"
        )
    if wrong := _wrong(about, whole):
        raise UserError(f"{beside} is damaged: {', '.join(wrong)}; restore it, or calibrate again")
    return about


def _wrong(about: Mapping[str, Any], whole: NDArray[Any]) -> list[str]:
    """The fields of a JSON file that are not what an array's are."""
    kinds: dict[str, tuple[type, type]] = {"question_ids": (list, str), COUNTS: (list, int), "groups": (list, str)}
    kinds |= {"made_for": (dict, str), "sample_size": (int, int)}
    wrong = [
        name
        for name, (kind, of) in kinds.items()
        if name in about
        and not (isinstance(about[name], kind) and (kind is int or all(isinstance(one, of) for one in about[name])))
    ]
    counts = about.get(COUNTS, ())
    if not wrong and counts and (min(counts) < 0 or (whole.ndim == 1 and sum(counts) != len(whole))):
        wrong.append(COUNTS)
    if not wrong and whole.ndim == 2 and counts and len(counts) != len(whole):
        wrong.append(COUNTS)
    return wrong


@dataclass(frozen=True, slots=True)
class Recomputed:
    """How many of the recorded percentiles an array gives again, and the first that it doesn't."""

    recorded: int
    equal: int
    difference: str | None


def recompute(array: CalibrationArray, samples: Sequence[Record], repeats: int) -> Recomputed:
    """Compares percentiles, ``#{s_i < s} / n``, with those in the samples: another array gives others."""
    if array.scores.ndim == 1:
        rows = [np.sort(array.scores)] * (max((s["problem_index"] for s in samples), default=0) // repeats + 1)
    else:
        rows = [np.sort(array.of_row(row)) for row in range(len(array.scores))]
    recorded = equal = 0
    difference = None
    for sample in samples:
        question = sample["problem_index"] // repeats
        for entry in sample["full_history"]:
            if entry["model"] != Stage.SCORE.value or entry.get("percentile") is None:
                continue
            if (score := recorded_score(entry)) is None:
                continue
            recorded += 1
            if question < len(rows):
                percentile = np.searchsorted(rows[question], score) / len(rows[question])
                equal += percentile == entry["percentile"]
                given = f"from the array {percentile}"
            else:
                percentile, given = None, f"the array has no row for its question {question}"
            if percentile != entry["percentile"] and difference is None:
                place = f"sample {sample['problem_index']}, turn {entry['turn']}"
                difference = f"{place}: recorded {entry['percentile']}, {given}"
    return Recomputed(recorded, equal, difference)
