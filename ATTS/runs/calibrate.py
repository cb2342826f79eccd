"""Calibration runs: settings in, an array of scores and its provenance out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.console import Progress, say
from ATTS.errors import SampleError, UserError
from ATTS.method.chain import Chain
from ATTS.method.types import Stage
from ATTS.runs import models, names, questions
from ATTS.runs.calibrate_turns import calibrate_turns
from ATTS.runs.models import ChunkModel, surroundings
from ATTS.runs.rules import purpose
from ATTS.runs.settings import ConformalSettings
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import new_session
from ATTS.serving.queue import drain
from ATTS.store import calibration, provenance
from ATTS.store.journal import Journal
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

ATTEMPTS = 5  # at a sample whose draft is empty or can't be scored


async def calibrate(settings: ConformalSettings, per_question: bool) -> Path:
    """ref_conformal and ref_conformal_per_question. Returns the array's path. Raises UserError.

    Scores ``sample_size`` first chunks of every question, or the chunks of ``turns`` turns of as many
    samples. What is done is kept in a file beside the array, so the same command goes on where an
    interrupted one stopped.
    """
    by_turn = settings.turns > 1
    if per_question and by_turn:
        raise UserError("ref_conformal_per_question scores first chunks; --turns is for ref_conformal")
    path = settings.ppl_array_path or names.calibration_array(settings, per_question)
    asked = questions.to_calibrate(settings, per_question)
    wanted = {
        "made_for": purpose(settings, turns=by_turn),
        "per_question": per_question,
        "sample_size": settings.sample_size,
        "question_ids": [question.id for question in asked],
    }
    if by_turn:
        wanted["turns"] = settings.turns
    if _already_there(path, wanted, per_question, settings.force):
        say(f"{path} is already there, made with these settings")
        return path
    async with new_session(settings.request_timeout) as session:
        draft = await models.draft(session, settings, CapacityLimiter(settings.max_concurrent))
        target = await models.target(session, settings, CapacityLimiter(settings.max_concurrent))
        for party in (draft, target):
            party.check(asked)
        partial = Journal(path, provenance.digest(wanted | {"journal": "replies"} if by_turn else wanted))
        if partial.entries:
            say(f"{len(partial.entries)} {'replies' if by_turn else 'scores'} are already in {partial.path}")
        if by_turn:
            scores, more = await calibrate_turns(settings, asked, draft, target, partial)
        else:
            scores, more = await _first_scores(settings, asked, draft, target, partial)
            scores = scores if per_question else scores.reshape(-1)
        if any(question.group for question in asked):
            more["groups"] = [question.group for question in asked]
        made_with = surroundings([draft, target])
        calibration.save(path, scores, {**wanted, "settings": provenance.resolved(settings), **more, **made_with})
        partial.remove()
    return path


async def _first_scores(
    settings: ConformalSettings, asked: Sequence[Question], draft: ChunkModel, target: ChunkModel, partial: Journal
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Scores of shape (questions, sample_size), and what is to be told about them."""
    everything = [(row, sample) for row in range(len(asked)) for sample in range(settings.sample_size)]
    done = {(entry["row"], entry["sample"]) for entry in partial.entries}
    with Progress(len(everything), len(done), "score") as progress:

        async def work(item: tuple[int, int]) -> None:
            row, sample = item
            ppl, answered = await _first_score(draft, target, asked[row])
            await partial.add({"row": row, "sample": sample, "ppl": ppl, "answered": answered})
            progress.add("answered at once" if answered else "scored")

        await drain([item for item in everything if item not in done], work, 2 * settings.max_concurrent)
    scores = np.full((len(asked), settings.sample_size), np.nan)
    for entry in partial.entries:
        scores[entry["row"], entry["sample"]] = entry["ppl"]
    answered = sum(entry["answered"] for entry in partial.entries)
    return scores, {"answered_at_once": answered, "order": "question-major"}


async def _first_score(draft: ChunkModel, target: ChunkModel, question: Question) -> tuple[float, bool]:
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
    raise UserError(
        f"question {question.index} could not be scored in {ATTEMPTS} attempts ({reason}); the scores so far are"
        " kept, and the same command goes on from them"
    )


def _already_there(path: Path, wanted: dict[str, Any], per_question: bool, force: bool) -> bool:
    """Whether the array is made. Raises UserError if another one is in its place and not ``force``."""
    if not path.exists():
        return False
    try:
        made = calibration.load(path, per_question, per_turn="turns" in wanted)
        if made.provenance is None:
            changed = [f"it has no {calibration.provenance_path(path).name} beside it that says what it is"]
        else:
            changed = provenance.differences(made.provenance, wanted)
    except UserError as error:
        changed = [str(error)]
    if changed and not force:
        raise UserError(
            f"{path} is there already and is another array:\n  "
            + "\n  ".join(_short(line) for line in changed)
            + "\nname another with --ppl_array_path, or replace it with --force"
        )
    return not changed


def _short(line: str) -> str:
    return line if len(line) <= 300 else f"{line[:300]}..."
