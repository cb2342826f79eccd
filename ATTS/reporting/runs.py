"""A run as a report shows it: its row, its samples graded one by one, and its numbers in columns."""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.analysis import compare, folders
from ATTS.analysis.accuracy import Graded, accuracy
from ATTS.analysis.audit_rate import recorded_kind
from ATTS.analysis.by_turn import by_turn
from ATTS.analysis.folders import Folder, Truth
from ATTS.analysis.grading import by_math, ran
from ATTS.analysis.intervals import interval
from ATTS.errors import ExitStatus, UserError
from ATTS.method.types import Stage
from ATTS.reporting.samples import Columns
from ATTS.store import calibration, result_folder
from ATTS.store.records import Record
from ATTS.store.summary import TurnRow

ROLES = ("target", "draft", None)
RIGHT, WRONG, UNANSWERED, STOPPED = "rwus"


@dataclass(frozen=True)
class Run:
    """One of the runs. ``states``: a letter a sample, as its cell shows it; ``endings``: why it
    ended. ``row``: as in :mod:`ATTS.analysis.compare`,
    with ``against_first``."""

    number: int
    path: Path
    folder: Folder
    states: list[str]
    endings: list[str]
    row: compare.Row
    about: dict[str, Any]
    columns: Columns
    turns: list[TurnRow]
    alone: str | None  # of a run of one model: whether it is the target or the draft

    @property
    def letter(self) -> str:
        """What it is called in charts: A, B, ... Z, then R26."""
        return chr(ord("A") + self.number) if self.number < 26 else f"R{self.number}"

    @property
    def name(self) -> str:
        """Its folder's name."""
        return str(self.row["run"])

    @property
    def written(self) -> dict[str, int] | None:
        """Tokens by author. One model alone stands in the draft's place in its folder, whichever it is."""
        written: dict[str, int] | None = self.row["written_tokens"]
        return {"draft": 0, "target": written["draft"]} if written and self.alone == "target" else written

    @property
    def settings(self) -> dict[str, Any]:
        """Its resolved settings; empty if it doesn't say."""
        return dict(self.about.get("settings", {}))

    @property
    def rate(self) -> float | None:
        """The rejection rate that was asked for, of a run that scores."""
        value = self.settings.get("rejection_rate") if self.row["scored"] else None
        return value if isinstance(value, int | float) else None

    @property
    def kind(self) -> str:
        """How it was calibrated."""
        return recorded_kind(self.about)

    def rejected_by_turn(self) -> list[dict[str, float]]:
        """The share of scored chunks that was rejected at each turn, with its interval over questions."""
        questions = np.array([sample["question_index"] for sample in self.folder.samples])
        turn, rejected = np.array(self.columns.turn), np.array(self.columns.rejected)
        asked = questions[np.array(self.columns.sample)] if len(turn) else turn
        rows = []
        for at in np.unique(turn):
            which = turn == at
            found = interval(rejected[which], asked[which])
            told = {"rate": found.rate, "low": found.low, "high": found.high}
            rows.append({"turn": int(at), "n": found.n, "questions": found.clusters, **told})
        return rows

    def calibration_scores(self) -> NDArray[np.float64] | None:
        """Those that the run was decided with; None where its array is not at its place, or another one is."""
        path, digest = self.settings.get("ppl_array_path"), self.about.get("decisive", {}).get("calibration")
        if not digest or not isinstance(path, str):
            return None
        for place in (Path(path), self.path / path, self.path.parent / Path(path).name):
            try:
                array = calibration.load(place, per_question=None) if place.is_file() else None
            except UserError:
                continue
            if array is not None and array.digest == digest:
                scores: NDArray[np.float64] = array.scores[np.isfinite(array.scores)]
                return scores
        return None


def expand(paths: Sequence[Path]) -> list[Path]:
    """Result folders and recordings, each once. A folder of result folders stands for these: the target alone first,
    if it is there, and the draft alone."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(file.parent for file in path.glob(f"*/{result_folder.SETTINGS}"))
        if not inside or (path / result_folder.SETTINGS).is_file():
            found.append(path)
            continue
        about = {one: result_folder.about_of(one) for one in inside}
        targets = {content.get("settings", {}).get("eval_model_name") for content in about.values()}
        found += sorted(inside, key=lambda one: ROLES.index(_role(about[one], targets)))
    return list(dict.fromkeys(found))


def _role(about: dict[str, Any], targets: Container[str | None]) -> str | None:
    """Of a run of one model, which of the two it is, by the ``targets`` of the other runs."""
    if about.get("command") != "baseline":
        return None
    return "target" if about["settings"].get("small_model_name") in targets else "draft"


def read(paths: Sequence[Path], truth: Truth) -> list[Run]:
    """Raises UserError."""
    runs: list[Run] = []
    first_costs: dict[int, compare.Row] = {}
    targets = {result_folder.settings(path).get("eval_model_name") for path in paths if path.is_dir()}
    for number, path in enumerate(paths):
        run = _read(number, path, truth, targets)
        costs = compare.costs(run.folder)
        if number == 0:
            first_costs = costs
        else:
            try:
                run.row["against_first"] = compare.against(runs[0].row, first_costs, run.row, costs)
            except UserError:  # of other questions: there is nothing to compare
                run.row["against_first"] = None
        runs.append(run)
    return runs


def _read(number: int, path: Path, truth: Truth, targets: Container[str | None]) -> Run:
    columns = Columns()
    folder = folders.load(path, *truth.given, each=columns.keep)
    graded = by_math(folder.samples, folder.references, folder.repeats)
    stored: compare.Row = {**((result_folder.summary(path) if path.is_dir() else None) or {})}
    if stored.get("samples") != len(folder.samples) or truth.dataset_name:  # of an earlier part of the run
        stored = {}
    row = compare.summarised(folder, stored)
    if "per_question" not in stored or "intervals" not in stored:
        row |= accuracy(graded, folder.repeats)
    turns = stored.get("by_turn")
    if not turns or "low" not in turns[0]:  # a summary of an older version tells no intervals
        turns = by_turn(ran(folder.samples), [sample for sample in graded if sample.status != ExitStatus.STOPPED])
    about = result_folder.about_of(path) if path.is_dir() else {}
    row["against_first"] = None
    states, endings = [_state(sample) for sample in graded], [sample.status for sample in graded]
    return Run(number, path, folder, states, endings, row, about, columns, list(turns), _role(about, targets))


def _state(sample: Graded) -> str:
    if sample.status == ExitStatus.STOPPED:
        return STOPPED
    if sample.right:
        return RIGHT
    return UNANSWERED if sample.answer is None else WRONG


def taken_over(sample: Record) -> int:
    """Chunks that the target wrote."""
    return sum(entry["model"] == Stage.CONTINUE.value for entry in sample["full_history"])


def statuses(runs: Sequence[Run]) -> list[str]:
    """All ways in which samples ended, the most frequent first."""
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(run.row["by_status"])
    return [name for name, _ in counts.most_common()]
