"""The growing chain of one sample: text for people, token ids for each model that reads it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ATTS.method.conformal import RejectionRule
from ATTS.method.score import MEAN, Score, perplexity_if_any
from ATTS.method.types import (
    Discarded,
    Event,
    Generated,
    LanguageModel,
    Stage,
    TellsBest,
    Tokenizer,
    Usage,
)

FindAnswer = Callable[[str, bool], str | None]  # (text, the author ended it) -> answer
REPLACEMENT = "\ufffd"


@dataclass(slots=True)
class CacheStats:
    """How much of what a server has seen it still has in its prefix cache: tokens, over all chains."""

    known: int = 0  # of the prompts sent, what the server had seen of the same chain before
    cached: int = 0  # and of that, what it had kept
    page: int = 1  # tokens that its cache keeps together or not at all

    def count(self, known: int, cached: int) -> None:
        """One more request: the server had seen ``known`` tokens of its prompt before and had ``cached`` of them. The
        end of ``known`` that fills no page can't be cached, so it doesn't count."""
        whole = known - known % self.page
        self.known += whole
        self.cached += min(whole, cached)


@dataclass(slots=True)
class ModelView:
    """One model's view of one chain.

    ``ids`` only grows, but for a newest chunk that is taken out again, so every prompt extends the last one or what
    stands before its newest chunk: what was generated is what is scored and continued, chunk boundaries are exact,
    and the server's prefix cache holds all but the newest chunk.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    prompt: Sequence[int]  # what stands before the chain when this model writes
    scoring_prompt: Sequence[int]  # and when it scores
    max_tokens: int  # of one chunk
    temperature: float
    ids: list[int] = field(default_factory=list)
    newest: int = 0  # tokens of the newest chunk
    memory: CacheStats = field(default_factory=CacheStats)  # one for all chains of a model
    _seen: dict[bool, int] = field(default_factory=dict)  # tokens sent so far, behind each prompt

    def append(self, ids: Sequence[int]) -> None:
        """Adds a text in the tokens of this model."""
        self.ids.extend(ids)
        self.newest = len(ids)

    def retract(self) -> None:
        """Takes the newest chunk out again; what a server has seen of it is of no use any more."""
        del self.ids[len(self.ids) - self.newest :]
        self.newest = 0
        for line, beginning in ((True, self.prompt), (False, self.scoring_prompt)):
            if line in self._seen:
                self._seen[line] = min(self._seen[line], len(beginning) + len(self.ids))

    async def write(self) -> Generated:
        """What the model writes behind the chain as it stands; the chain does not take it in yet."""
        prompt = [*self.prompt, *self.ids]
        written = await self.model.generate(prompt, self.max_tokens, self.temperature)
        self._remember(self.prompt, len(prompt), len(prompt) - 1, written.usage)
        return written

    async def logprobs(self, with_best: bool) -> tuple[list[float | None], list[float | None] | None, Usage]:
        """Log-probabilities of the newest chunk's tokens and, if asked for, of the likeliest tokens there."""
        prompt = [*self.scoring_prompt, *self.ids]
        start = len(prompt) - self.newest
        best = None
        if with_best:
            assert isinstance(self.model, TellsBest)
            logprobs, best, usage = await self.model.logprobs_and_best(prompt, start)
        else:
            logprobs, usage = await self.model.logprobs(prompt, start)
        self._remember(self.scoring_prompt, len(prompt), start - 1, usage)
        return logprobs, best, usage

    def _remember(self, beginning: Sequence[int], sent: int, cacheable: int, usage: Usage) -> None:
        line = beginning is self.prompt or beginning == self.prompt  # a chain scored behind another prompt is another
        self.memory.count(min(self._seen.get(line, 0), cacheable), usage.cached_tokens)
        self._seen[line] = sent


def whole_characters(tokenizer: Tokenizer, written: Sequence[int]) -> tuple[list[int], str]:
    """``written`` without what lies behind its last whole character, and its text.

    A tokenizer shows bytes of an unfinished character as U+FFFD; where the model wrote that very
    character, its own ids stand at the end.
    """
    ids = list(written)
    text = tokenizer.decode(ids)
    if text.endswith(REPLACEMENT):
        itself = tokenizer.encode(REPLACEMENT)
        while text.endswith(REPLACEMENT) and ids[-len(itself) :] != itself:
            ids.pop()
            text = tokenizer.decode(ids)
    return ids, text


class Chain:
    """Text, history and answer of one sample, and the views that models have of it.

    ``score``: how chunks are scored. ``token_budget``: most tokens of the text, of all its chunks together, whoever
    writes them (0: no limit). Chunks are cut to what is left of it, so it is never exceeded; a chunk that is not
    taken in, or taken out again, costs nothing of it.
    """

    def __init__(
        self, find_answer: FindAnswer, *readers: ModelView, score: Score = MEAN, token_budget: int = 0
    ) -> None:
        self.text = ""
        self._before = ""  # the text without the newest chunk
        self.history: list[Event] = []
        self.answer: str | None = None
        self.discarded: list[Discarded] = []  # drafted ahead for nothing
        self._find_answer = find_answer
        self._readers = readers
        self._limits = [reader.max_tokens for reader in readers]  # of one chunk
        self._score = score
        self._left: float = token_budget or math.inf
        self._cut()

    @property
    def spent(self) -> bool:
        """Whether nothing is left of the budget."""
        return self._left <= 0

    async def extend(self, author: ModelView, turn: int, stage: Stage) -> Event:
        """Lets ``author`` write one chunk, and takes it in."""
        return self.take(author, turn, stage, await author.write())

    def take(self, author: ModelView, turn: int, stage: Stage, written: Generated) -> Event:
        """Every reader takes in what ``author`` wrote, and an answer is looked for.

        The author keeps the ids it wrote; the others encode the chunk's text. A chunk that stops
        inside a character (a byte-level token limit can) loses those last bytes: the text must be
        something that others can read, and the next author writes them again.
        """
        self._left -= written.usage.completion_tokens
        self._cut()
        ids, text = whole_characters(author.tokenizer, written.ids)
        self._before = self.text
        if not text:
            for reader in self._readers:
                reader.append([])
        else:
            for reader in self._readers:
                reader.append(ids if reader is author else reader.tokenizer.encode(text))
            self.text += text
            self.answer = self._find_answer(self.text, written.ended)
        return self._record(Event(turn, stage, written.usage, output=text, ended=written.ended))

    def discard(self) -> None:
        """Takes the newest chunk out of the text and of every reader's ids; it stays in the history as discarded."""
        for reader in self._readers:
            reader.retract()
        self.text, self.answer = self._before, None
        at = max(n for n, event in enumerate(self.history) if event.stage is Stage.DRAFT)
        self.history[at] = replace(self.history[at], stage=Stage.DRAFT_DISCARDED)
        self._left += self.history[at].usage.completion_tokens
        self._cut()

    async def score(self, scorer: ModelView, turn: int, rule: RejectionRule | None = None) -> Event:
        """Scores the newest chunk, all of its tokens, and lets ``rule`` decide. Raises ScoreFailed."""
        logprobs, best, usage = await scorer.logprobs(self._score.needs_best)
        score = self._score(logprobs, scorer.newest, best)
        ppl: float | None = score
        own: dict[str, float] = {}
        if self._score is not MEAN:
            ppl, own = perplexity_if_any(logprobs), {self._score.key: score}
        if rule is None:
            return self._record(Event(turn, Stage.SCORE, usage, ppl=ppl, details=own, score=score))
        percentile, rejected, *_ = decision = rule(score, turn)
        details = own | decision.details
        return self._record(Event(turn, Stage.SCORE, usage, None, False, ppl, percentile, rejected, details, score))

    def _cut(self) -> None:
        """Nobody writes a longer chunk than what is left."""
        for reader, limit in zip(self._readers, self._limits, strict=True):
            reader.max_tokens = int(min(limit, self._left))

    def _record(self, event: Event) -> Event:
        self.history.append(event)
        return event
