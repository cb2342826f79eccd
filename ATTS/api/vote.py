"""Several samples, one answer: the one that most of them give, as the grader compares answers."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from ATTS.tasks.equivalence import Grader, Verdict

MOST_SPELLINGS = 40  # different texts of one vote that are compared with each other; others stand for themselves
MOST_REMEMBERED = 50_000  # pairs


class Votes:
    """Counts answers that mean the same as one. ``async with`` it: hard cases are compared by worker processes."""

    def __init__(self) -> None:
        self._grader = Grader(workers=2)
        self._compared = 0  # pairs, since the grader forgot them
        self._alone = asyncio.Lock()  # the grader is for one thread at a time

    def close(self) -> None:
        """Ends the worker processes."""
        self._grader.__exit__()

    async def count(self, answers: Mapping[int, str | None]) -> Counter[int]:
        """Votes of samples by number, under the first sample that gave an answer; None is no vote."""
        given = {number: answer for number, answer in sorted(answers.items()) if answer is not None}
        spelled = list(dict.fromkeys(given.values()))
        first = await self._first_alike(spelled) if len(spelled) > 1 else {text: text for text in spelled}
        voters: dict[str, int] = {}
        for number, answer in given.items():
            voters.setdefault(first[answer], number)
        return Counter(voters[first[answer]] for answer in given.values())

    async def _first_alike(self, spelled: Sequence[str]) -> dict[str, str]:
        """Of each text the first that means the same."""
        compared = spelled[:MOST_SPELLINGS]
        pairs = [(earlier, text) for place, text in enumerate(compared) for earlier in compared[:place]]
        async with self._alone:
            self._compared += len(pairs)
            if self._compared > MOST_REMEMBERED:
                self._grader.forget()
                self._compared = 0
            verdicts = dict(zip(pairs, await asyncio.to_thread(self._grader.compare, pairs), strict=True))
        first: dict[str, str] = {}
        for text in spelled:
            alike = (earlier for earlier in first.values() if verdicts.get((earlier, text)) is Verdict.EQUAL)
            first[text] = next(alike, text)
        return first


def decided(votes: Counter[int], outstanding: int) -> bool:
    """Whether no other answer can still get as many votes as the first one has."""
    (_, most), (_, second) = [*votes.most_common(2), (0, 0), (0, 0)][:2]
    return most > second + outstanding


def winner(votes: Counter[int], finished: Sequence[int]) -> int:
    """The sample that stands for most votes, the earliest of several; without any vote the earliest that finished."""
    if not votes:
        return min(finished)
    most = max(votes.values())
    return min(number for number, count in votes.items() if count == most)
