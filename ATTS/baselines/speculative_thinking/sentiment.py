"""Words that tell what a paragraph is about to do: affirm, reflect, verify."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keywords:
    """``verify`` words count as negative ones, too. ``inside_words``: as published, "check" is found in
    "checkerboard"."""

    verify: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]
    inside_words: bool = False

    def sentiment(self, text: str) -> int:
        """+1 if affirming words outnumber the others, else -1 if there is any word, else 0."""
        positive = self._count(text, self.positive)
        negative = self._count(text, (*self.negative, *self.verify))
        if positive > negative:
            return 1
        return -1 if negative else 0

    def verifies(self, text: str) -> bool:
        """Whether a paragraph begins to verify."""
        return self._count(text, self.verify) > 0

    def _count(self, text: str, words: Sequence[str]) -> int:
        lower = text.lower()
        if self.inside_words:
            return sum(lower.count(word) for word in words)
        return sum(len(re.findall(rf"\b{re.escape(word)}\b", lower)) for word in words)
