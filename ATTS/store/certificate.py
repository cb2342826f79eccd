"""A certificate on disk: a setting, what is promised of it, and the questions that it rests on."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.errors import UserError
from ATTS.store import atomic, provenance
from ATTS.store.result_folder import parsed

SCHEMA = 1


@dataclass(frozen=True)
class Certificate:
    """With ``confidence``, samples by ``settings`` are right at most ``max_loss`` less often than the target's.

    ``loss`` is what was seen on the ``n`` questions, ``bound`` its upper end for this setting taken alone, ``cost`` its
    part of the target's, in ``cost_in`` tokens or seconds. ``calibration``: path and digest of the array. ``tried``: a
    row for every setting among which this one was chosen.
    """

    max_loss: float
    confidence: float
    procedure: str
    loss: float
    bound: float
    p_value: float
    cost: float
    cost_in: str
    n: int
    command: str
    settings: dict[str, Any]
    calibration: dict[str, Any]
    question_ids: list[str]
    tried: list[dict[str, Any]]

    @property
    def promise(self) -> str:
        """In a sentence."""
        return (
            f"with {100 * self.confidence:g} % confidence, samples on questions like these {self.n} are right at most"
            f" {100 * self.max_loss:g} points less often than the target's (seen: {100 * self.loss:+.1f} points)"
        )


def save(path: Path, certificate: Certificate) -> None:
    """Raises OSError."""
    content = {"schema": SCHEMA, **dataclasses.asdict(certificate)}
    atomic.write(path, atomic.as_json({**content, "digest": provenance.digest(content)}, allow_nan=False))


def load(path: Path) -> Certificate:
    """Raises UserError for a file that is none, or was changed."""
    content = parsed(path)
    if content is None:
        missing = "does not exist" if not path.exists() else "is not JSON"
        raise UserError(f"certificate {path} {missing}; make one with python -m ATTS.certify")
    names = {field.name for field in dataclasses.fields(Certificate)}
    if not isinstance(content, dict) or content.keys() != {"schema", "digest", *names} or content["schema"] != SCHEMA:
        raise UserError(f"{path} is no certificate that this version reads; make one with python -m ATTS.certify")
    if content.pop("digest") != provenance.digest(content):
        raise UserError(f"{path} was changed after it was made: certify again with python -m ATTS.certify")
    return Certificate(**{name: content[name] for name in names})
