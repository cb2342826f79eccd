"""SpecReason's two models behind their servers: SGLang by token ids, or any OpenAI-compatible server by chat."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from ATTS.baselines.prompts import SPEC_REASON_JUDGE, SPEC_REASON_SCORE, THINK
from ATTS.baselines.spec_reason.loop import BREAK, Grade, Step
from ATTS.errors import ContextFull, ServerFailed, UserError
from ATTS.method.types import Usage
from ATTS.serving.client import SGLangModel
from ATTS.serving.replies import Body, Content
from ATTS.serving.retry import BadScore
from ATTS.serving.tokenizer import ModelTokenizer

DIGITS = "0123456789"
TOP = 10  # likeliest tokens in which digits are looked for, as published

# What a server would else take from the model's own defaults (generation_config.json) in chat completions, but not in
# /generate: with Qwen2.5, top_k 20, top_p 0.8 and a penalty of 1.1.
UNCHANGED = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass
class SGLangSpeaker:
    """Steps are encoded once, each by itself, so that prompts only grow and the prefix cache serves them.

    Exactly one ``<think>`` opens an answer, whether the template writes it or not. ``published``: none
    before the first step, and digits are those among the ten likeliest tokens instead of all ten.
    """

    model: SGLangModel
    tokenizer: ModelTokenizer
    user: str
    temperature: float
    published: bool = False
    _encoded: dict[str, list[int]] = field(default_factory=dict)

    async def step(self, pieces: Sequence[str], max_tokens: int) -> Step:
        """See Speaker."""
        _, ids = self._begun(pieces)
        written = await self.model.generate(ids, max_tokens, self.temperature, [BREAK])
        text = self.tokenizer.decode(written.ids)
        end: Literal["break", "length", "end"] = "break" if written.stopped else "end" if written.ended else "length"
        return Step(text.partition(BREAK)[0] if written.stopped else text, end, written.usage)

    async def grade(self, pieces: Sequence[str]) -> Grade:
        """See Speaker; one request for log-probabilities."""
        begun, ids = self._begun(pieces)
        messages = [
            {"role": "user", "content": self.user},
            {"role": "assistant", "content": THINK + "".join(pieces)},
            {"role": "user", "content": SPEC_REASON_JUDGE},
        ]
        prompt = self._opened(messages, SPEC_REASON_SCORE)
        if prompt.startswith(begun):  # else the template has rewritten the answer: everything is encoded anew
            ids = [*ids, *self.tokenizer.begin(prompt[len(begun) :])]  # holds the template's own marks
        else:
            ids = self.tokenizer.begin(prompt)
        if self.model.info.context_length is not None and len(ids) >= self.model.info.context_length:
            raise ContextFull(f"the {self.model.role} has no room for the grade's prompt of {len(ids)} tokens")
        digits = digit_ids(self.tokenizer)
        body = {
            "input_ids": ids,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            **({"top_logprobs_num": TOP} if self.published else {"token_ids_logprob": digits}),
        }
        (token, digits_of), usage = await self.model.post("/generate", body, self._graded)
        return Grade(token, digits_of, usage)

    def _graded(self, reply: Body) -> tuple[str, dict[int, float]]:
        """The token written and the probabilities of digits in its place. Raises BadScore."""
        with _telling_scores():
            meta = reply["meta_info"]
            token = self.tokenizer.decode([meta["output_token_logprobs"][0][1]])
            told_of = meta["output_top_logprobs" if self.published else "output_token_ids_logprobs"][0]
            return token, _digits([(self.tokenizer.decode([entry[1]]), float(entry[0])) for entry in told_of])

    def _begun(self, pieces: Sequence[str]) -> tuple[str, list[int]]:
        """The answer as it stands behind the question: text and ids."""
        messages = [{"role": "user", "content": self.user}]
        first = self.published and not pieces
        opening = self.tokenizer.render(messages) if first else self._opened(messages, THINK)
        if opening not in self._encoded:
            self._encoded[opening] = self.tokenizer.begin(opening)
        ids = list(self._encoded[opening])
        for piece in pieces:
            ids += self._encode(piece)
        return opening + "".join(pieces), ids

    def _opened(self, messages: Sequence[Mapping[str, str]], answer: str) -> str:
        """The template's text for ``messages`` and the beginning of the ``answer``."""
        text = self.tokenizer.render(messages)
        if text.rstrip().endswith(THINK):
            answer = answer.removeprefix(THINK)
        return text + answer

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self.tokenizer.encode(text)
        return self._encoded[text]


@dataclass
class OpenAISpeaker:
    """Chat completions alone, with the one extension that vLLM and SGLang share: an unfinished last
    message goes on (``continue_final_message``). Digits are those among the likeliest tokens."""

    model: SGLangModel
    name: str
    user: str
    temperature: float
    top_p: float
    published: bool = False

    async def step(self, pieces: Sequence[str], max_tokens: int) -> Step:
        """See Speaker; by chat completions."""
        sampling = {"max_tokens": max_tokens, "temperature": self.temperature, "top_p": self.top_p, "stop": [BREAK]}
        first = self.published and not pieces
        more = [] if first else [_assistant(THINK + "".join(pieces))]
        choice, usage = await self._ask(more, sampling, _choice)
        finish = choice.get("finish_reason")
        # A stop string and an end of text are both "stop". SGLang and vLLM tell what it was; elsewhere it
        # counts as a break, and a model that has nothing more to say is ended by its repeated steps.
        matched = choice.get("matched_stop", choice.get("stop_reason", BREAK))
        text = str(choice["message"].get("content") or "").partition(BREAK)[0]
        if finish == "length":
            return Step(text, "length", usage)
        return Step(text, "break" if matched == BREAK else "end", usage)

    async def grade(self, pieces: Sequence[str]) -> Grade:
        """See Speaker; from the likeliest tokens of a chat completion."""
        more = [
            _assistant(THINK + "".join(pieces)),
            {"role": "user", "content": SPEC_REASON_JUDGE},
            _assistant(SPEC_REASON_SCORE),
        ]
        sampling = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": TOP}
        (token, digits), usage = await self._ask(more, sampling, _graded_choice)
        return Grade(token, digits, usage)

    async def _ask(
        self, more: Sequence[Mapping[str, str]], sampling: Mapping[str, Any], read: Callable[[Body], Content]
    ) -> tuple[Content, Usage]:
        messages = [{"role": "user", "content": self.user}, *more]
        going_on = messages[-1]["role"] == "assistant"
        body = {
            "model": self.name,
            "messages": messages,
            "add_generation_prompt": not going_on,
            "continue_final_message": going_on,
            **UNCHANGED,
            **sampling,
        }
        try:
            return await self.model.post("/v1/chat/completions", body, read)
        except ServerFailed as error:  # how long a context is, such a server tells only when it is full
            if "status 400" in str(error) and "context" in str(error):
                raise ContextFull(str(error)) from None
            raise


def _choice(reply: Body) -> dict[str, Any]:
    """A chat reply's only choice. Raises KeyError, IndexError, TypeError."""
    choice: dict[str, Any] = reply["choices"][0]
    choice["message"]["content"]
    return choice


def _graded_choice(reply: Body) -> tuple[str, dict[int, float]]:
    """The token written and the probabilities of digits in its place. Raises BadScore."""
    with _telling_scores():
        (position,) = _choice(reply)["logprobs"]["content"]
        pairs = [(str(entry["token"]), float(entry["logprob"])) for entry in position["top_logprobs"]]
        return str(position["token"]), _digits(pairs)


@contextmanager
def _telling_scores() -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise BadScore(f"it returned no log-probabilities ({error!r})") from None


def digit_ids(tokenizer: ModelTokenizer) -> list[int]:
    """The tokens of the ten digits. Raises UserError where a digit is none."""
    ids = [tokenizer.encode(digit) for digit in DIGITS]
    if any(len(one) != 1 for one in ids):
        raise UserError("the target's tokenizer has no token for every single digit: --score_method needs them")
    return [one[0] for one in ids]


def _digits(pairs: Sequence[tuple[str, float]]) -> dict[int, float]:
    """Probabilities of the tokens that are a single digit."""
    return {int(token): math.exp(logprob) for token, logprob in pairs if len(token) == 1 and token in DIGITS}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
