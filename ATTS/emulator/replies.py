"""What an emulated server answers, in SGLang's layout."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from ATTS.emulator.content import Written
from ATTS.emulator.faults import Kind
from ATTS.emulator.release import Release
from ATTS.emulator.requests import Request
from ATTS.serving.tokenizer import ModelTokenizer

NEVER = -1e4  # log-probability of a token that the content doesn't name


@dataclass
class Reply:
    """The answer to one request, filled in as it comes about."""

    name: str  # of the model
    release: Release
    request: Request
    rid: str
    ids: list[int] = field(default_factory=list)  # written, an end-of-text token included
    text: str = ""
    finish: dict[str, Any] = field(default_factory=lambda: {"type": "length", "length": 0})
    logprobs: list[float | None] | None = None  # of the prompt, from request.start on
    best: list[Any] | None = None  # and of the likeliest tokens there, in SGLang's layout
    cached: int = 0
    seconds: float = 0.0
    likely: dict[str, Any] = field(default_factory=dict)  # log-probabilities of other next tokens

    def write(self, written: Written, most: int, tokenizer: ModelTokenizer) -> None:
        """Takes in what the content says, cut at a stop string or at ``most`` tokens."""
        text, finish = written.text, written.finish
        matched: str | None = None
        stops = [(text.find(stop), stop) for stop in self.request.stop if stop in text]
        if stops:
            at, matched = min(stops)
            text, finish = text[: at + len(matched)], "stop"
        ids = tokenizer.encode(text)
        if finish is None:
            finish = "stop" if len(ids) < most else "length"
            ids = ids[:most]
            text = tokenizer.decode(ids)
        if finish == "stop" and matched is None:
            ids.append(tokenizer.end)
        if matched is not None and not self.request.keep_stop:
            text = text.removesuffix(matched)
        self.ids, self.text = ids, text
        if finish == "stop":
            self.finish = {"type": "stop", "matched": matched if matched is not None else tokenizer.end}
        else:
            self.finish = {"type": "length", "length": len(ids)}

    def spoil(self, kind: Kind) -> None:
        """Breaks the log-probabilities as a fault plans it."""
        if not self.logprobs:
            return
        if kind is Kind.SHORT:
            self.logprobs.pop()
        elif kind in (Kind.NAN, Kind.NONE):
            self.logprobs[-1] = math.nan if kind is Kind.NAN else None

    def tell_best(self, best: Sequence[float | None], own: Sequence[float | None]) -> None:
        """Takes in the log-probabilities of the likeliest tokens where those that are there have ``own``; which tokens
        that are, where they aren't those, a content doesn't tell. The first place is left empty, as SGLang does."""
        tokens = self.request.ids[len(self.request.ids) - len(own) :]
        entries = zip(best, own, tokens, strict=True)
        self.best = [None, *([[value, t if value == there else int(t == 0), None]] for value, there, t in entries)]

    def tell_likely(self, likely: Mapping[str, float], tokenizer: ModelTokenizer) -> None:
        """Takes in the probabilities of the next token: for ``token_ids_logprob`` and ``top_logprobs_num``."""
        known = {tokenizer.encode(text)[0]: math.log(p) if p else NEVER for text, p in likely.items()}
        request = self.request
        if request.token_ids:
            entries = [[known.get(token, NEVER), token, None] for token in request.token_ids]
            self.likely["output_token_ids_logprobs"] = [entries]
        if request.top:
            likeliest = sorted(known.items(), key=lambda item: -item[1])[: request.top]
            self.likely["output_top_logprobs"] = [[[value, token, None] for token, value in likeliest]]


Format = Callable[[Reply], dict[str, Any]]


def generate(reply: Reply) -> dict[str, Any]:
    """The body of /generate."""
    meta: dict[str, Any] = {
        "id": reply.rid,
        "finish_reason": reply.finish,
        "prompt_tokens": len(reply.request.ids),
        "completion_tokens": len(reply.ids),
        "cached_tokens": reply.cached,
        "e2e_latency": reply.seconds,
    }
    if reply.request.return_logprob:
        tokens = reply.request.ids[reply.request.start :]
        meta["input_token_logprobs"] = [
            [value, token, None] for value, token in zip(reply.logprobs or (), tokens, strict=False)
        ]
        if reply.best is not None:
            meta["input_top_logprobs"] = reply.best
        meta["output_token_logprobs"] = [[-1.0, token, None] for token in reply.ids]
        meta |= reply.likely
    body: dict[str, Any] = {"text": reply.text, "meta_info": meta}
    if reply.release.returns_ids:
        body["output_ids"] = reply.ids
    return body


def chat(reply: Reply) -> dict[str, Any]:
    """The body of /v1/chat/completions."""
    prompt, written = len(reply.request.ids), len(reply.ids)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text},
        "finish_reason": reply.finish["type"],
        "matched_stop": reply.finish.get("matched"),
    }
    return {
        "id": reply.rid,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply.name,
        "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written},
    }


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    known = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    return {"error": {"message": message, "code": status, "type": known}}
