"""Calibration runs: settings in, an array of first-chunk scores and its provenance out."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ATTS.method.chain import Chain
from ATTS.method.types import SampleError, Stage
from ATTS.problem import Problem
from ATTS.runs import calibration, durable, names, parties, provenance, questions
from ATTS.runs.parties import Party
from ATTS.runs.progress import Progress, say
from ATTS.runs.queue import drain
from ATTS.runs.settings import ConformalSettings
from ATTS.serving.client import new_session
from ATTS.serving.gate import Gate
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

ATTEMPTS = 5  # at a sample whose draft is empty or can't be scored


async def calibrate(settings: ConformalSettings, per_question: bool) -> Path:
    """ref_conformal and ref_conformal_per_question. Returns the array's path. Raises Problem.

    Scores ``sample_size`` first chunks of every question. Scores are kept in a file beside the
    array as they come, so the same command goes on where an interrupted one stopped.
    """
    path = settings.ppl_array_path or names.calibration_array(settings, per_question)
    asked = questions.to_calibrate(settings, per_question)
    wanted = {
        "made_for": calibration.purpose(settings),
        "per_question": per_question,
        "sample_size": settings.sample_size,
        "question_ids": [question.id for question in asked],
    }
    if _already_there(path, wanted, per_question, settings.force):
        say(f"{path} is already there, made with these settings")
        return path
    async with new_session(settings.request_timeout) as session:
        draft = await parties.draft(session, settings, Gate(settings.max_concurrent))
        target = await parties.target(session, settings, Gate(settings.max_concurrent))
        for party in (draft, target):
            party.check(asked)
        partial = _Partial(path, wanted)
        todo = [
            (row, sample)
            for row in range(len(asked))
            for sample in range(settings.sample_size)
            if (row, sample) not in partial.scores
        ]
        if partial.scores:
            say(f"{len(partial.scores)} scores are already in {partial.path}")
        with Progress(len(partial.scores) + len(todo), len(partial.scores), "score") as progress:

            async def work(item: tuple[int, int]) -> None:
                row, sample = item
                ppl, answered = await _first_score(draft, target, asked[row])
                partial.add(row, sample, ppl, answered)
                progress.add("answered at once" if answered else "scored")

            await drain(todo, work, 2 * settings.max_concurrent)
        scores = np.array(
            [[partial.scores[row, sample] for sample in range(settings.sample_size)] for row in range(len(asked))]
        )
        about = {
            **wanted,
            "settings": provenance.resolved(settings),
            "answered_at_once": partial.answered,
            "order": "question-major",
            **provenance.surroundings([draft, target]),
        }
        calibration.save(path, scores if per_question else scores.reshape(-1), about)
        partial.remove()
    return path


async def _first_score(draft: Party, target: Party, question: Question) -> tuple[float, bool]:
    """Perplexity of one first chunk under the target, and whether the chunk held an answer."""
    reason = "the draft wrote nothing"
    for _ in range(ATTEMPTS):
        d, t = draft.reader(question), target.reader(question)
        chain = Chain(find_answer, d, t)
        try:
            drafted = await chain.extend(d, 0, Stage.DRAFT)
            if drafted.output:
                scored = await chain.score(t, 0)
                assert scored.ppl is not None
                return scored.ppl, chain.answer is not None
        except SampleError as error:
            reason = str(error)
    raise Problem(
        f"question {question.index} could not be scored in {ATTEMPTS} attempts ({reason}); the scores so far are"
        " kept, and the same command goes on from them"
    )


def _already_there(path: Path, wanted: dict[str, Any], per_question: bool, force: bool) -> bool:
    """Whether the array is made. Raises Problem if another one is in its place and not ``force``."""
    if not path.exists():
        return False
    try:
        made = calibration.load(path, per_question)
        if made.provenance is None:
            changed = [f"it has no {calibration.provenance_path(path).name} beside it that says what it is"]
        else:
            changed = provenance.differences(made.provenance, wanted)
    except Problem as error:
        changed = [str(error)]
    if changed and not force:
        raise Problem(
            f"{path} is there already and is another array:\n  "
            + "\n  ".join(_short(line) for line in changed)
            + "\nname another with --ppl_array_path, or replace it with --force"
        )
    return not changed


def _short(line: str) -> str:
    return line if len(line) <= 300 else f"{line[:300]}..."


class _Partial:
    """Scores of a run that isn't finished: a JSON line each, behind a line that says for what."""

    def __init__(self, array: Path, wanted: dict[str, Any]) -> None:
        self.path = array.with_suffix(".partial.jsonl")
        self.scores: dict[tuple[int, int], float] = {}
        self.answered = 0
        header = {"for": provenance.digest(wanted)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            whole = [entry for entry in map(_parsed, lines) if entry is not None]
            if not whole or whole[0] != header:
                if len(whole) > 1:
                    say(f"{self.path} is of another run and is started anew")
                durable.write(self.path, json.dumps(header).encode() + b"\n")
                whole = [header]
            elif len(whole) < len(lines):  # the last line was torn; new ones must not grow out of it
                durable.write(self.path, b"".join(json.dumps(entry).encode() + b"\n" for entry in whole))
        except OSError as error:
            raise Problem(f"{self.path} can't be written: {error}") from None
        for entry in whole[1:]:
            self._take(entry["row"], entry["sample"], entry["ppl"], entry["answered"])

    def add(self, row: int, sample: int, ppl: float, answered: bool) -> None:
        entry = {"row": row, "sample": sample, "ppl": ppl, "answered": answered}
        durable.append_line(self.path, json.dumps(entry).encode())
        self._take(row, sample, ppl, answered)

    def _take(self, row: int, sample: int, ppl: float, answered: bool) -> None:
        self.scores[row, sample] = ppl
        self.answered += answered

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
