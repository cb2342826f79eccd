"""A run on several machines: each does a part of the questions."""

from collections.abc import Sequence
from dataclasses import field

from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.store.records import Key
from ATTS.tasks.shards import Shard


class Sharding(Part):
    """Which part of the questions."""

    shard: str | None = field(default=None, compare=False)  # no setting: all of a run's shards have the same
    """i/n: run part i of n of the questions, dealt by expected length, here and the other parts elsewhere, into
    one folder or several; python -m ATTS.merge joins them (docs/SCALE.md). --max_problems counts before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.part  # raises if it is none

    @property
    def part(self) -> Shard | None:
        """None: all questions. Raises ValueError."""
        return None if self.shard is None else Shard.parse(self.shard)

    def own(self, every: Sequence[Key]) -> Sequence[Key]:
        """The samples of this part. Raises UserError if there are none."""
        part = self.part
        if part is None:
            return every
        questions = list({key.question.index: key.question for key in every}.values())
        own = {question.index for question in part.questions(questions)}
        if not own:
            raise UserError(f"--shard {part}: there are only {len(questions)} questions; use at most as many shards")
        return [key for key in every if key.question.index in own]
