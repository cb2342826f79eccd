"""The published form of a chain: a list of texts, joined by blank lines for every request."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ATTS.method.conformal import RejectionRule
from ATTS.method.prompts import SYSTEM
from ATTS.method.types import Discarded, Event, Stage, Usage
from ATTS.serving.client import SGLangModel
from ATTS.serving.replies import Body
from ATTS.serving.tokenizer import ModelTokenizer

JOINT = "\n\n"


@dataclass(frozen=True)
class Author:
    """One model of the published driver."""

    model: SGLangModel
    tokenizer: ModelTokenizer
    max_tokens: int
    temperature: float


class PublishedChain:
    """Texts, history and answer of one sample."""

    def __init__(
        self,
        question: str,
        draft: Author,
        target: Author,
        use_chat_template: bool,
        find_answer: Callable[[str, bool], str | None],
    ) -> None:
        self.texts: list[str] = []
        self.history: list[Event] = []
        self.discarded: list[Discarded] = []  # never any: it doesn't draft ahead
        self.answer: str | None = None
        self._question = question
        self._draft, self._target = draft, target
        self._use_chat_template = use_chat_template
        self._find_answer = find_answer

    @property
    def text(self) -> str:
        """The chain so far."""
        return JOINT.join(self.texts)

    async def draft(self, turn: int) -> bool:
        """Lets the draft write: behind a system message on the first turn, without one later. False if
        it wrote nothing."""
        system = [] if self.texts else [{"role": "system", "content": SYSTEM}]
        return await self._write(self._draft, system, turn, Stage.DRAFT)

    async def take_over(self, turn: int) -> None:
        """Has the target continue. Raises SampleError."""
        await self._write(self._target, [], turn, Stage.CONTINUE)

    async def score(self, turn: int, judge: RejectionRule) -> bool:
        """Perplexity of the newest draft but its first token; whether the target takes over."""
        prompt, start = self._templated() if self._use_chat_template else self._raw()
        body = {
            **prompt,
            "sampling_params": {"temperature": 0.0, "max_new_tokens": 1},
            "return_logprob": True,
            "logprob_start_len": start,
        }
        ppl, usage = await self._target.model.post("/generate", body, _perplexity)
        verdict = judge(ppl, turn)
        event = Event(turn, Stage.SCORE, usage, ppl=ppl, percentile=verdict.percentile, rejected=verdict.rejected)
        self.history.append(event)
        return verdict.rejected

    def find_answer(self) -> bool:
        """Looks for an answer in the chain, as published."""
        self.answer = self._find_answer(self.text, False)
        return self.answer is not None

    async def _write(self, author: Author, before: Sequence[dict[str, str]], turn: int, stage: Stage) -> bool:
        messages = [*before, {"role": "user", "content": self._question}]
        if self.texts:
            messages.append({"role": "assistant", "content": self.text})
        text, ended, usage = await _chat(author, messages)
        self.history.append(Event(turn, stage, usage, output=text, ended=ended))
        if text or stage is Stage.CONTINUE:
            self.texts.append(text)
        return bool(text)

    def _templated(self) -> tuple[dict[str, Any], int]:
        """Template and chain as ids; the chunk starts where everything before it ends when encoded alone."""
        tokenizer = self._target.tokenizer
        template = tokenizer.prompt(self._question)
        before = tokenizer.encode(self.text[: len(self.text) - len(self.texts[-1])])
        return {"input_ids": [*template, *tokenizer.encode(self.text)]}, len(template) + len(before)

    def _raw(self) -> tuple[dict[str, Any], int]:
        """Question and chain as text; the chunk is looked for in it, from the front."""
        message = f"{self._question}\n{self.text}"
        before = message[: message.find(self.texts[-1].strip("\n"))]
        return {"text": message}, len(self._target.tokenizer.begin(before))


async def _chat(author: Author, messages: list[dict[str, str]]) -> tuple[str, bool, Usage]:
    """A chat completion that goes on with a final assistant message: releases from 0.4.4 on have to be
    asked to, which the published driver does not do (and so restarts every turn on them)."""
    body: dict[str, Any] = {
        "model": "default",
        "messages": messages,
        "max_tokens": author.max_tokens,
        "temperature": author.temperature,
    }
    if messages[-1]["role"] == "assistant" and not author.model.info.continues_always:
        body["continue_final_message"] = True
    (text, ended), usage = await author.model.post("/v1/chat/completions", body, _said)
    return text, ended, usage


def _said(reply: Body) -> tuple[str, bool]:
    """A chat reply's text, and whether the model ended it."""
    choice = reply["choices"][0]
    return str(choice["message"]["content"] or ""), choice["finish_reason"] == "stop"


def _perplexity(reply: Body) -> float:
    """Of all entries but the first, which SGLang leaves empty; 0, which is always accepted, if there are none."""
    entries = (reply.get("meta_info") or {}).get("input_token_logprobs") or []
    values = [float(entry[0]) for entry in entries[1:] if entry[0] is not None]
    return math.exp(-sum(values) / len(values)) if values else 0.0
