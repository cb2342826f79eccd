"""Calibration runs: settings in, an array of scores and its provenance out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ATTS.calibration.calibrate_turns import calibrate_turns
from ATTS.calibration.first_chunks import first_chunks
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import flags, flat
from ATTS.runs import models, names
from ATTS.runs.models import surroundings
from ATTS.runs.questions import to_calibrate
from ATTS.runs.rules import PURPOSE_OF_TURNS, purpose
from ATTS.runs.settings import ConformalSettings
from ATTS.serving.server_info import new_session
from ATTS.store import calibration, provenance
from ATTS.store.journal import Journal, beside


async def calibrate(settings: ConformalSettings, per_question: bool) -> Path:
    """ref_conformal and ref_conformal_per_question. Returns the array's path. Raises UserError.

    Scores ``sample_size`` first chunks of every question that a run would score, or the chunks of ``turns``
    turns of as many samples. What is done is kept in a file beside the array, so the same command resumes where an
    interrupted one stopped.
    """
    by_turn = settings.calibration.turns > 1
    if per_question and by_turn:
        raise UserError("ref_conformal_per_question scores first chunks; --turns is for ref_conformal")
    if not by_turn and (unused := _unused(settings)):
        say(f"first chunks don't depend on {unused}: the array serves any")
    path = settings.scoring.ppl_array_path or names.calibration_array(settings, per_question)
    questions = to_calibrate(settings.data, per_question)
    wanted = {
        "made_for": purpose(settings, turns=by_turn),
        "per_question": per_question,
        "sample_size": settings.calibration.sample_size,
        "question_ids": [question.id for question in questions],
    }
    if by_turn:
        wanted["turns"] = settings.calibration.turns
    if _already_there(path, dict(wanted), per_question, settings.output.force):
        say(f"{path} is already there, made with these settings")
        beside(path).unlink(missing_ok=True)  # it was made, and the run killed before it had cleared up
        return path
    async with new_session(settings.requests.request_timeout) as session:
        each = settings.limits.each
        draft = await models.draft(session, settings.draft, settings.requests, each)
        template = settings.scoring.use_chat_template
        target = await models.target(session, settings.target, settings.requests, each, template)
        if not by_turn:
            target = replace(target, max_tokens=1)  # it scores only
        for served in (draft, target):
            served.check(questions)
        with Journal(path, provenance.digest(wanted | {"journal": "replies"} if by_turn else wanted)) as partial:
            if partial.entries:
                say(f"{len(partial.entries)} {'replies' if by_turn else 'scores'} are already in {partial.path}")
            if by_turn:
                scores, more = await calibrate_turns(settings, questions, draft, target, partial)
            else:
                scores, more = await first_chunks(settings, questions, draft, target, partial, per_question)
            if any(question.group for question in questions):
                more["groups"] = [question.group for question in questions]
            made_with = surroundings([draft, target])
            calibration.save(path, scores, {**wanted, "settings": provenance.resolved(settings), **more, **made_with})
            partial.remove()
    return path


def _unused(settings: ConformalSettings) -> str:
    """Flags that were given and matter to calibration by turn only."""
    default = {flag.name: flag.default for flag in flags(ConformalSettings)}
    # --on_rejection says whether answers are scored, too
    of_turns = (name for name in PURPOSE_OF_TURNS if name != "on_rejection")
    given = (name for name in of_turns if flat(settings)[name] != default[name])
    return ", ".join(f"--{name}" for name in given)


def _already_there(path: Path, wanted: dict[str, Any], per_question: bool, force: bool) -> bool:
    """Whether the array is made. Raises UserError if another one is in its place and not ``force``."""
    if not path.exists():
        return False
    try:
        array = calibration.load(path, per_question, per_turn="turns" in wanted)
        if array.provenance is None:
            changed = [f"it has no {calibration.provenance_path(path).name} beside it that says what it is"]
        else:
            differ = calibration.differences(array.provenance, wanted.pop("made_for"))
            changed = [*differ, *provenance.differences(array.provenance, wanted)]
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
