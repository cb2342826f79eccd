"""SpecReason's models, whose steps and grades are kept, so that a sample goes on where a run was interrupted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from ATTS.baselines.spec_reason.loop import Grade, Speaker, Step
from ATTS.store.under_way import ChainJournal, Place

STEP, GRADE = -1, -2  # what was asked for


@dataclass(frozen=True)
class RecalledSpeaker:
    """``speaker``, which says again what it said; a reply is known by the steps before it."""

    speaker: Speaker
    role: str
    journal: ChainJournal

    async def step(self, pieces: Sequence[str], max_tokens: int) -> Step:
        """See Speaker."""
        place = self._place(pieces, STEP)
        if known := self.journal.recall(place):
            return Step(known["text"], known["end"], self.journal.usage(known["usage"]))
        step = await self.speaker.step(pieces, max_tokens)
        self.journal.keep(place, step.usage, text=step.text, end=step.end)
        return step

    async def grade(self, pieces: Sequence[str]) -> Grade:
        """See Speaker."""
        place = self._place(pieces, GRADE)
        if known := self.journal.recall(place):
            digits = {int(digit): p for digit, p in known["digits"].items()}
            return Grade(known["token"], digits, self.journal.usage(known["usage"]))
        grade = await self.speaker.grade(pieces)
        digits_by_name = {str(digit): p for digit, p in grade.digits.items()}
        self.journal.keep(place, grade.usage, token=grade.token, digits=digits_by_name)
        return grade

    def _place(self, pieces: Sequence[str], what: int) -> Place:
        """A text's own hash is another one in every process."""
        told = sha256(json.dumps(list(pieces)).encode()).digest()
        return (self.role, int.from_bytes(told[:7]), what)
