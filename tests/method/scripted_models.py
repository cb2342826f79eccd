"""Models that say what a test gives them, byte by byte, and a rule to decide about it."""

import asyncio
from collections.abc import Sequence

from hypothesis import strategies as st

from ATTS.errors import ExitStatus, SampleError
from ATTS.method.chain import REPLACEMENT, Chain, ModelView
from ATTS.method.conformal import CalibrationSet
from ATTS.method.loop import atts
from ATTS.method.take_over import ByScore
from ATTS.method.types import Generated, Usage
from ATTS.tasks.answers import find_answer

TEXT = st.text(st.characters(codec="utf-8", exclude_characters=REPLACEMENT), min_size=1, max_size=12)


class Bytes:
    """A tokenizer whose tokens are bytes, so a chunk can stop inside a character."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


class Scripted:
    """Writes given chunks in turn (a trailing $ ends the text) and scores with given log-probabilities."""

    def __init__(self, chunks: Sequence[str | bytes | SampleError] = (), logprobs: Sequence[float | None] = ()) -> None:
        self.chunks, self.scores = list(chunks), list(logprobs)
        self.written_after: list[list[int]] = []
        self.scored: list[tuple[list[int], int]] = []

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        self.written_after.append(list(ids))
        chunk = self.chunks.pop(0)
        if isinstance(chunk, SampleError):
            raise chunk
        raw = chunk if isinstance(chunk, bytes) else chunk.encode()
        ended = raw.endswith(b"$")
        return Generated(list(raw.removesuffix(b"$")), ended, Usage(completion_tokens=len(raw)))

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        self.scored.append((list(ids), start))
        return [self.scores.pop(0)] * (len(ids) - start), Usage(prompt_tokens=len(ids))


GOOD, BAD = -0.01, -3.0  # perplexity 1.01 and 20 against calibration scores 1.1 ... 2
JUDGE = CalibrationSet([1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0], 0.4)


def reader(model: Scripted, name: str = "?") -> ModelView:
    return ModelView(model, Bytes(), list(f"<{name}>".encode()), list(f"[{name}]".encode()), 8, 0.8)


def run(draft: Scripted, target: Scripted, turns: int = 15) -> tuple[ExitStatus, Chain]:
    d, t = reader(draft, "d"), reader(target, "t")
    chain = Chain(find_answer, d, t)
    return asyncio.run(atts(chain, d, t, ByScore(JUDGE), turns)), chain
