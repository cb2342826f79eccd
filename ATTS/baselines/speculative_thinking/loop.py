"""Speculative Thinking (arXiv 2504.12329): the draft writes; at every paragraph break its next tokens
are probed, and if they affirm, reflect or verify, the target writes the opening of that paragraph.

Three kinds of take-over: a few tokens behind an affirmation or reflection; many more behind a
verification; and a fixed recap sentence with a growing run behind it, after too many reflections.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ATTS.baselines.speculative_thinking.sentiment import Keywords
from ATTS.baselines.speculative_thinking.thought import Draw, Thought
from ATTS.errors import ExitStatus
from ATTS.method.types import Stage

SEGMENT_TOKENS = 1024  # of the draft between two breaks
TAIL_TOKENS = 5  # in which a break is looked for
MARGIN_TOKENS = 100  # of the context that stay free


@dataclass(frozen=True, slots=True)
class Rules:
    """Fields of the YAML files by their names there, in lower case; 0 = no limit.

    ``published`` brings back: a probe without keywords is thrown away and written anew; keywords are
    found inside words; an end of text is noticed only among the last ``max_target_tokens`` tokens.
    """

    trigger_tokens: tuple[str, ...]
    keywords: Keywords
    help_think_word: str | None
    help_recap_words: str
    choose_large: bool
    max_target_tokens: int
    begin: bool
    begin_token_num: int
    original_recap_token_num: int
    recap_after_negative_num: int
    add_each_recap: int
    max_recap_token_num: int
    add_each_neg: int
    max_negative_num: int
    not_reasoning: bool = False
    time_out: float = 0
    max_tokens: int = 32768  # prompt included
    max_model_len: int = 0
    published: bool = False


class _Patience:
    """Reflections so far, how many are too many, and how long the next recap is."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.reflections = 0
        self.limit, self.recap = rules.recap_after_negative_num, rules.original_recap_token_num

    @property
    def lost(self) -> bool:
        return self.reflections >= self.limit

    def renew(self) -> int:
        """Tokens of this recap; the next one comes later and is longer."""
        length, self.reflections = self.recap, 0
        self.recap = min(self.recap + self._rules.add_each_recap, self._rules.max_recap_token_num)
        self.limit = min(self.limit + self._rules.add_each_neg, self._rules.max_negative_num)
        return length


async def speculative_thinking(thought: Thought, rules: Rules, earlier: float = 0.0) -> ExitStatus:
    """Until a model ends the text, or the tokens or seconds run out, of which ``earlier`` are spent already. Raises
    SampleError."""
    patience = _Patience(rules)
    started = time.monotonic() - earlier
    begin = rules.begin
    for turn in itertools.count():
        before = thought.length
        if turn and before > rules.max_tokens:
            return ExitStatus.BUDGET_SPENT
        if rules.time_out > 0 and time.monotonic() - started > rules.time_out:
            return ExitStatus.TIME_LIMIT
        if rules.max_model_len and before >= rules.max_model_len - MARGIN_TOKENS:
            return ExitStatus.CONTEXT_FULL
        broken = begin
        if not begin:
            tail, ended = await _segment(thought, turn, rules)
            if ended:
                return thought.status()
            broken = _has(tail, rules.trigger_tokens)
        if broken:
            await _opening(thought, turn, rules, patience, begin)
            begin = False
        if thought.ended(rules.max_target_tokens if rules.published else None):
            return thought.status()
        if thought.length == before:
            return ExitStatus.EMPTY_DRAFT
    raise AssertionError


async def _segment(thought: Thought, turn: int, rules: Rules) -> tuple[str, bool]:
    """The draft goes on to the next break. Returns the end of what it wrote, and whether it ended the text."""
    tokens = SEGMENT_TOKENS
    if (probe := thought.waiting) is not None:
        thought.waiting = None
        if probe.ended or _has(probe.text, rules.trigger_tokens):
            return probe.text, probe.ended
        tokens -= len(probe.ids)
    written = await thought.write(turn, Stage.DRAFT, tokens, {}, rules.trigger_tokens)
    return thought.reader(Stage.DRAFT).tokenizer.decode(written.ids[-TAIL_TOKENS:]), written.ended


async def _opening(thought: Thought, turn: int, rules: Rules, patience: _Patience, begin: bool) -> None:
    """Who opens the next paragraph, and with how much."""
    if begin:
        return await _take_over(thought, turn, "begin", rules.begin_token_num)
    if patience.lost:
        thought.insert(turn, rules.help_recap_words)
        return await _take_over(thought, turn, "recap", patience.renew())
    if rules.help_think_word:
        thought.insert(turn, rules.help_think_word)
    probe = await thought.draw(Stage.DRAFT, rules.max_target_tokens)
    mood = rules.keywords.sentiment(probe.text)
    if mood == 0 and not rules.not_reasoning:
        if rules.published:
            thought.discard(turn, probe, {"part": "probe", "sentiment": 0})
        else:  # what was looked at is what stays
            thought.keep_until(turn, probe, rules.trigger_tokens, {"part": "probe", "sentiment": 0})
        return None
    chosen = await _choose(thought, turn, rules, probe, mood)
    if rules.keywords.sentiment(chosen.text) < 0:
        patience.reflections += 1
    if rules.keywords.verifies(chosen.text) and not (chosen.ended and not rules.published):
        await _take_over(thought, turn, "verification", rules.original_recap_token_num)
    return None


async def _choose(thought: Thought, turn: int, rules: Rules, probe: Draw, mood: int) -> Draw:
    """The target's opening, or the probe where the target is of the same mind and need not be preferred."""
    where = _log(thought, "keyword", rules.max_target_tokens)
    opening = await thought.draw(Stage.CONTINUE, rules.max_target_tokens)
    other = rules.keywords.sentiment(opening.text)
    about = {"part": "probe", "sentiment": mood}
    if rules.choose_large or mood * other < 0 or (mood < 0 and other == 0):
        thought.discard(turn, probe, about)
        thought.keep(turn, opening, where)
        return opening
    thought.keep(turn, probe, about)
    thought.discard(turn, opening, {"part": "opening", "sentiment": other})
    return probe


async def _take_over(thought: Thought, turn: int, kind: str, tokens: int) -> None:
    await thought.write(turn, Stage.CONTINUE, tokens, _log(thought, kind, tokens))


def _log(thought: Thought, kind: str, tokens: int) -> dict[str, Any]:
    """A take-over, in the words of the published log."""
    return {"kind": kind, "pos": len(thought.target.ids), "token_num": tokens}


def _has(text: str, triggers: Sequence[str]) -> bool:
    return any(trigger in text for trigger in triggers)


async def normal(thought: Thought, max_tokens: int) -> ExitStatus:
    """The target alone, in one go."""
    written = await thought.write(0, Stage.CONTINUE, max_tokens, {})
    return thought.status() if written.ended else ExitStatus.BUDGET_SPENT
