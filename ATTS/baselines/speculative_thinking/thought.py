"""The growing text of one sample of Speculative Thinking, and the two models that read it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ATTS.errors import ExitStatus
from ATTS.method.chain import ModelView, whole_characters
from ATTS.method.types import Discarded, Event, Stage, Usage

FindAnswer = Callable[[str, bool], str | None]
DISCARDED = {Stage.DRAFT: Stage.DRAFT_DISCARDED, Stage.CONTINUE: Stage.TARGET_DISCARDED}


@dataclass(frozen=True, slots=True)
class Draw:
    """What a model wrote and what may be kept of it. ``ids`` are the author's own."""

    stage: Stage
    ids: list[int]
    text: str
    ended: bool
    usage: Usage


@dataclass
class Thought:
    """Each model keeps its own token ids, so vocabularies may differ: the author's are kept, the other
    encodes the text. Lengths are counted in the target's tokens. ``draft`` None: the target is alone.

    ``end_ids``: as published, an end of text becomes a token of the text (the end tokens of draft and
    target), and what is written behind it goes on from there.
    """

    draft: ModelView | None
    target: ModelView
    find_answer: FindAnswer
    room: int = 0  # tokens that each model has for prompt and text; 0: no limit
    end_ids: tuple[int, int] | None = None
    text: str = ""
    history: list[Event] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)  # always empty: nothing is drafted ahead
    answer: str | None = None
    ends: list[tuple[int, Stage]] = field(default_factory=list)  # where a text was ended, and by whom
    waiting: Draw | None = None  # a probe that was kept and that the draft goes on behind

    @property
    def length(self) -> int:
        """Tokens of prompt and chain, as the target counts them."""
        return len(self.target.prompt) + len(self.target.ids)

    def reader(self, stage: Stage) -> ModelView:
        """The view of the model that writes in this stage."""
        reader = self.draft if stage is Stage.DRAFT else self.target
        assert reader is not None
        return reader

    async def draw(self, stage: Stage, tokens: int, stop: Sequence[str] = ()) -> Draw:
        """Lets a model write at most ``tokens`` behind the text as it stands. Nothing is kept yet.

        As in a chain, a character that the limit cut through is left to whoever writes next.
        """
        author = self.reader(stage)
        prompt = [*author.prompt, *author.ids]
        if self.room:
            tokens = max(1, min(tokens, self.room - len(prompt)))
        written = await author.model.generate(prompt, tokens, author.temperature, stop)
        ids, text = whole_characters(author.tokenizer, written.ids)
        return Draw(stage, ids, text, written.ended, written.usage)

    async def write(
        self, turn: int, stage: Stage, tokens: int, details: Mapping[str, Any], stop: Sequence[str] = ()
    ) -> Draw:
        """Draws and keeps."""
        draw = await self.draw(stage, tokens, stop)
        self.keep(turn, draw, details)
        return draw

    def keep(self, turn: int, draw: Draw, details: Mapping[str, Any]) -> None:
        """Adds what was written to the chain and to the history."""
        author = self.reader(draw.stage)
        for reader, end in zip((self.draft, self.target), self.end_ids or (None, None), strict=True):
            if reader is not None:
                reader.append(draw.ids if reader is author else reader.tokenizer.encode(draw.text))
                if draw.ended and end is not None:
                    reader.append([end])
        if draw.ended:
            self.ends.append((self.length, draw.stage))
        self.text += draw.text
        self.answer = self.find_answer(self.text, draw.ended)
        self.history.append(Event(turn, draw.stage, draw.usage, output=draw.text, ended=draw.ended, details=details))

    def discard(self, turn: int, draw: Draw, details: Mapping[str, Any]) -> None:
        """Notes in the history what was written and not kept."""
        stage = DISCARDED[draw.stage]
        self.history.append(Event(turn, stage, draw.usage, output=draw.text, ended=draw.ended, details=details))

    def insert(self, turn: int, text: str) -> None:
        """A fixed text that no model wrote."""
        for reader in (self.draft, self.target):
            if reader is not None:
                reader.append(reader.tokenizer.encode(text))
        self.text += text
        self.history.append(Event(turn, Stage.INSERT, Usage(), output=text))

    def keep_until(self, turn: int, draw: Draw, triggers: Sequence[str], details: Mapping[str, Any]) -> None:
        """Keeps a draft's text up to and with its first trigger; the draft goes on behind it."""
        decode = self.reader(draw.stage).tokenizer.decode
        cut = next((k for k in range(len(draw.ids)) if any(t in decode(draw.ids[:k]) for t in triggers)), None)
        if cut is not None:  # what lies behind is a paragraph of its own, not looked at yet
            rest = len(draw.ids) - cut + draw.ended
            used = replace(draw.usage, completion_tokens=draw.usage.completion_tokens - rest)
            behind = Draw(draw.stage, draw.ids[cut:], decode(draw.ids[cut:]), draw.ended, Usage(completion_tokens=rest))
            self.discard(turn, behind, {"part": "behind the break"})
            draw = Draw(draw.stage, draw.ids[:cut], decode(draw.ids[:cut]), False, used)
        self.keep(turn, draw, details)
        self.waiting = draw

    def ended(self, within: int | None) -> bool:
        """Whether the text was ended, among its last ``within`` tokens (None: anywhere)."""
        return any(within is None or at > self.length - within for at, _ in self.ends)

    def status(self) -> ExitStatus:
        """Of a text that was ended."""
        if self.answer is not None:
            return ExitStatus.ANSWERED
        return ExitStatus.DRAFT_ENDED if self.ends[-1][1] is Stage.DRAFT else ExitStatus.TARGET_ENDED
