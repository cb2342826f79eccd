"""The growing chain of one sample: text for people, token ids for each model that reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ATTS.method.conformal import Judge
from ATTS.method.score import perplexity
from ATTS.method.types import Event, Generated, LanguageModel, Stage, Tokenizer

FindAnswer = Callable[[str, bool], str | None]  # (text, the author ended it) -> answer
REPLACEMENT = "\ufffd"


@dataclass(slots=True)
class Reader:
    """One model's view of one chain.

    ``ids`` only ever grows, so every prompt extends the last one: what was generated is what is
    scored and continued, chunk boundaries are exact, and the server's prefix cache holds all but
    the newest chunk.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    prompt: Sequence[int]  # what stands before the chain when this model writes
    scoring_prompt: Sequence[int]  # and when it scores
    max_tokens: int  # of one chunk
    temperature: float
    ids: list[int] = field(default_factory=list)
    newest: int = 0  # tokens of the newest chunk

    def append(self, ids: Sequence[int]) -> None:
        self.ids.extend(ids)
        self.newest = len(ids)


class Chain:
    """Text, history and answer of one sample, and the readers that follow it."""

    def __init__(self, find_answer: FindAnswer, *readers: Reader) -> None:
        self.text = ""
        self.history: list[Event] = []
        self.answer: str | None = None
        self._find_answer = find_answer
        self._readers = readers

    async def extend(self, author: Reader, turn: int, stage: Stage) -> Event:
        """Lets ``author`` write one chunk, every reader take it in, and looks for an answer.

        The author keeps the ids it wrote; the others encode the chunk's text. A chunk that stops
        inside a character (a byte-level token limit can) loses those last bytes: the text must be
        something that others can read, and the next author writes them again. (A tokenizer shows such
        bytes as U+FFFD, so a chunk that truly ends in that character loses it, too.)
        """
        written = await author.model.generate([*author.prompt, *author.ids], author.max_tokens, author.temperature)
        return self.take(author, turn, stage, written)

    def take(self, author: Reader, turn: int, stage: Stage, written: Generated) -> Event:
        """Takes in what ``author`` wrote."""
        ids = list(written.ids)
        text = author.tokenizer.decode(ids)
        while text.endswith(REPLACEMENT):
            ids.pop()
            text = author.tokenizer.decode(ids)
        if text:
            for reader in self._readers:
                reader.append(ids if reader is author else reader.tokenizer.encode(text))
            self.text += text
            self.answer = self._find_answer(self.text, written.ended)
        return self._record(Event(turn, stage, written.usage, output=text, ended=written.ended))

    async def score(self, scorer: Reader, turn: int, judge: Judge | None = None) -> Event:
        """Scores the newest chunk, all of its tokens, and lets ``judge`` decide. Raises ScoreFailed."""
        ids = [*scorer.scoring_prompt, *scorer.ids]
        logprobs, usage = await scorer.model.logprobs(ids, len(ids) - scorer.newest)
        ppl = perplexity(logprobs, scorer.newest)
        if judge is None:
            return self._record(Event(turn, Stage.SCORE, usage, ppl=ppl))
        verdict = judge(ppl, turn)
        event = Event(turn, Stage.SCORE, usage, None, False, ppl, verdict.percentile, verdict.rejected, verdict.details)
        return self._record(event)

    def _record(self, event: Event) -> Event:
        self.history.append(event)
        return event
