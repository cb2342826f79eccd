"""Chains to be played by emulated models in token ids: recorded ones, or drawn ones.

A chunk is one token that stands for its text and as many fillers as it has tokens besides. So
chains can be told apart, share what they have in common in a radix cache, and cost a list each.
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FILLER = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A text and how many tokens it counts as."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a chain; ``continuation``: what the target wrote, None if it was not asked."""

    draft: Chunk
    perplexity: float
    continuation: Chunk | None
    replaces: bool = False  # the draft; else it stands behind it


@dataclass(slots=True)
class _Moment:
    """A chain as it stands at some time; repeats that stand the same are answered in turn."""

    drafts: deque[Chunk] = field(default_factory=deque)
    continuations: deque[Chunk] = field(default_factory=deque)
    scores: deque[float] = field(default_factory=deque)


class Script:
    """Tokenizer and content of both models at once."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._chunks: list[Chunk] = [Chunk("", 0)]  # by code; 0 is the filler
        self._moments: dict[tuple[int, ...], _Moment] = defaultdict(_Moment)
        self._ahead = 0

    # A tokenizer

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        code = self._codes.get(text)
        if code is None:  # a text that no chain holds: a code that no chunk has
            return [-1]
        return [code] + [FILLER] * (self._chunks[code].tokens - 1)

    def decode(self, ids: Sequence[int]) -> str:
        """See Tokenizer."""
        return self._chunks[ids[0]].text if ids else ""

    # The chains

    def learn(self, chunk: Chunk) -> int:
        """The code of a chunk; the first one with a text says how many tokens that has."""
        if chunk.text not in self._codes:
            self._codes[chunk.text] = len(self._chunks)
            self._chunks.append(Chunk(chunk.text, max(1, chunk.tokens)))
        return self._codes[chunk.text]

    def add(self, question: Chunk, turns: Sequence[Turn]) -> None:
        """One sample: the way its chain goes, and what the draft writes behind a chunk that is then
        rejected (``optimistic`` drafting asks for that before it knows)."""
        way: tuple[int, ...] = (self.learn(question),)
        for number, turn in enumerate(turns):
            before, way = way, (*way, self.learn(turn.draft))
            self._moments[before].drafts.append(turn.draft)
            moment = self._moments[way]
            moment.scores.append(turn.perplexity)
            if turn.continuation is not None:
                way = before if turn.replaces else way
                self._moments[way].continuations.append(turn.continuation)
                ahead = turns[number + 1].draft.tokens if number + 1 < len(turns) else turn.draft.tokens
                self._ahead += 1
                unused = Chunk(f"unused {self._ahead}", ahead)
                self.learn(unused)
                moment.drafts.append(unused)
                if turn.continuation.tokens:
                    way = (*way, self.learn(turn.continuation))

    # A content

    def write(self, role: str, ids: Sequence[int], most: int) -> tuple[list[int], bool]:
        """What a role writes next on a chain."""
        moment = self._moments.get(self._way(ids))
        chunks = (moment.drafts if role == "draft" else moment.continuations) if moment else None
        if not chunks:
            return [], True  # the chain has come to its end
        chunks.rotate(-1)
        return self.encode(chunks[-1].text)[:most] if chunks[-1].tokens else [], False

    def logprob(self, ids: Sequence[int], start: int) -> float:  # noqa: ARG002
        """See Script: the log-probability of every token of a chunk, by its scripted score."""
        scores = self._moments[self._way(ids)].scores
        scores.rotate(-1)
        return -math.log(scores[-1])

    def _way(self, ids: Sequence[int]) -> tuple[int, ...]:
        way, at = [], 0
        while at < len(ids):
            way.append(ids[at])
            at += self._chunks[ids[at]].tokens
        return tuple(way)


def tokens_of(chunks: Sequence[str], limit: int) -> float:
    """Characters a token, told from chunks that were cut at ``limit`` tokens."""
    lengths = sorted(map(len, chunks))
    return lengths[len(lengths) // 2] / limit


def recorded(samples: Sequence[dict[str, Any]], limit: int = 500) -> tuple[Script, dict[str, Chunk]]:
    """Recorded runs as a script, and the questions in it.

    A recording tells texts, not tokens. A draft chunk that was followed by another turn had (with few
    exceptions) all the tokens of the limit, so the median of their lengths says how many characters a
    token has, in this kind of text; all texts are counted with that, up to the limit.
    """
    per_token = tokens_of([turn["draft_text"] for s in samples for turn in s["turns"][:-1]], limit)

    def chunk(text: str | None) -> Chunk:
        return Chunk(text or "", min(limit, math.ceil(len(text or "") / per_token)))

    script = Script()
    questions: dict[str, Chunk] = {}
    for sample in samples:
        question = questions.setdefault(sample["question"], chunk(sample["question"]))
        turns = [
            Turn(
                chunk(t["draft_text"]),
                t["ppl"] or 1.0,
                chunk(t["target_text"]) if t["target_text"] is not None else None,
            )
            for t in sample["turns"]
        ]
        script.add(question, turns)
    return script, questions
