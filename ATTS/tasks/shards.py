"""A data set's questions dealt to shards: the same on every machine, about as much work for each."""

from collections.abc import Sequence
from typing import NamedTuple

from ATTS.tasks.datasets import Question

# Of 70 questions of MATH-500 with 16 recorded chains each, a chain had 5,500 characters and 3.2 more for each
# character of its question (5,800 and 2.6 in a second recording; rank correlations 0.31 and 0.34): 2,000 + characters.
OF_ANY = 2000


class Shard(NamedTuple):
    """Part ``number`` (from 1) of ``of`` parts of a run."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From ``2/8``. Raises ValueError."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ValueError(f"--shard {text!r} is not i/n with i from 1 to n, such as 2/8")
        return cls(int(number), int(of))

    @property
    def name(self) -> str:
        """Part of the names of its files."""
        return f"shard-{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def questions(self, questions: Sequence[Question]) -> list[Question]:
        """Those of this shard, in their order."""
        return deal(questions, self.of)[self.number - 1]


def expected_length(question: Question) -> int:
    """Of a chain, in an arbitrary unit."""
    return OF_ANY + len(question.problem) + sum(map(len, question.choices))


def deal(questions: Sequence[Question], shards: int) -> list[list[Question]]:
    """The longest first, each to the shard that has least so far (longest processing time first)."""
    loads = [0] * shards
    dealt: list[list[Question]] = [[] for _ in range(shards)]
    for question in sorted(questions, key=lambda question: (-expected_length(question), question.index)):
        least = min(range(shards), key=loads.__getitem__)
        loads[least] += expected_length(question)
        dealt[least].append(question)
    return [sorted(own, key=lambda question: question.index) for own in dealt]
