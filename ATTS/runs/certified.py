"""A run by a certificate (python -m ATTS.certify): its settings, its array, and other questions than it rests on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import flat, make
from ATTS.runs import names
from ATTS.runs.settings import AsyncSettings
from ATTS.store import certificate, provenance
from ATTS.store.calibration import CalibrationArray
from ATTS.store.certificate import Certificate
from ATTS.tasks.datasets import Question

# What a person chooses for every run: the questions, and how many samples of each.
OWN = ("dataset_name", "seed", "calibration_split", "repeats", "sample_size")
REQUIRED = ("small_model_name", "eval_model_name", "dataset_name")
SHOWN = 5  # questions named in a message


def applied(settings: AsyncSettings, per_question: bool) -> tuple[AsyncSettings, Certificate | None]:
    """The settings with those of ``--certificate``, if there is one. Raises UserError, also for a flag that
    contradicts it."""
    path = settings.rule.certificate
    if path is None:
        return settings, None
    promised = certificate.load(path)
    if per_question != (promised.command == "ref_async_per_question"):
        raise UserError(f"{path} is for python -m ATTS.{promised.command}")
    given = provenance.resolved(settings)
    known = {name: value for name, value in promised.settings.items() if name in given and name not in OWN}
    if known.get("budget") is not None:  # a part of the repeats
        known["repeats"] = promised.settings["repeats"]
    plain = provenance.resolved(make(AsyncSettings, **{name: given[name] for name in REQUIRED}))
    for name, value in known.items():
        if given[name] != value and (name in REQUIRED or given[name] != plain[name]):
            raise UserError(f"--{name} {given[name]} contradicts {path}, which is for {value}: leave it out")
    array = settings.scoring.ppl_array_path
    if array is None and _kind(promised) not in ("per_question", "random"):
        array = _array(promised, known)
    try:
        made = make(AsyncSettings, **flat(settings) | known | {"ppl_array_path": array})
        return replace(made, sharding=settings.sharding), promised  # which is none of the settings that are stored
    except ValueError as error:
        raise UserError(f"{path} does not go with the other flags: {error}") from None


def _kind(certificate: Certificate) -> str:
    return str(certificate.settings["kind"])


def _array(certificate: Certificate, known: dict[str, Any]) -> Path:
    """Where the certified runs had their array: by default, under the name of their own data set."""
    if certificate.calibration["path"]:
        return Path(certificate.calibration["path"])
    own = {name: certificate.settings[name] for name in ("dataset_name", "sample_size")}
    return names.calibration_array(make(AsyncSettings, **known | own), per_question=False)


def check(
    settings: AsyncSettings, promised: Certificate, questions: Sequence[Question], array: CalibrationArray | None
) -> None:
    """Says the promise. Raises UserError for questions that it rests on, and for another array."""
    known = set(promised.question_ids)
    if array is not None and _kind(promised) != "per_question":
        if array.digest != promised.calibration["digest"]:
            raise UserError(
                f"{settings.scoring.ppl_array_path} is not the calibration array of {settings.rule.certificate} (digest"
                f" {array.digest}, there {promised.calibration['digest']}): name that one with --ppl_array_path"
            )
        known |= set((array.provenance or {}).get("question_ids", ()))
    again = [question.index for question in questions if question.id in known]
    if again:
        more = f" and {len(again) - SHOWN} more" if len(again) > SHOWN else ""
        raise UserError(
            f"{settings.rule.certificate} rests on questions {', '.join(map(str, again[:SHOWN]))}{more} of"
            f" {settings.data.dataset_name}, so it promises nothing about them: leave them out"
        )
    say(f"{settings.rule.certificate}: {promised.promise}")
