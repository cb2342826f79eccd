"""What clients send to an emulated server: checked as SGLang checks it, and brought into one form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ATTS.emulator.release import Release
from ATTS.serving.tokenizer import ModelTokenizer

SAMPLING = """
max_new_tokens min_new_tokens temperature top_p top_k min_p stop stop_token_ids stop_regex no_stop_trim
ignore_eos skip_special_tokens spaces_between_special_tokens frequency_penalty presence_penalty
repetition_penalty n json_schema regex ebnf structural_tag logit_bias custom_params sampling_seed
"""  # the parameters that there are


class Refused(Exception):
    """A request that gets an error: the status and what the body says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Deadly(Exception):
    """A request that takes a real server down."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to /generate or chat, checked."""

    ids: Sequence[int]
    text: str
    assistant: str | None  # chat: the final assistant message that is continued; "": none
    max_new_tokens: int
    temperature: float
    stop: Sequence[str]
    keep_stop: bool
    ignore_eos: bool
    return_logprob: bool
    start: int  # log-probabilities of the prompt from here on
    rid: str | None
    token_ids: Sequence[int] = ()  # whose log-probabilities as the next token are wanted
    top: int = 0  # and of how many likeliest ones


def parse_json(raw: bytes, malformed: int) -> dict[str, Any]:
    """The object that a body holds. Raises Refused with the status ``malformed``."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(malformed, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused(malformed, "the body is not an object")
    return body


def generate(body: dict[str, Any], tokenizer: ModelTokenizer, release: Release, context: int) -> Request:
    """The request that the body of /generate makes. Raises Refused or Deadly."""
    ids, text = body.get("input_ids"), body.get("text")
    if ids is None and text is None:
        raise Refused(release.empty_input, "either text or input_ids must be given")
    if ids is None:
        if not text:
            raise Deadly("empty text")
        ids = tokenizer.plain_prompt(text)
    elif not ids:
        raise Refused(release.empty_input, "input_ids is empty")
    elif min(ids) < 0 or max(ids) >= tokenizer.size:
        raise Deadly("a token id outside the vocabulary")
    sampling = body.get("sampling_params") or {}
    unknown = sorted(set(sampling) - set(SAMPLING.split()))
    if unknown:
        raise Refused(release.unknown_sampling, f"unexpected sampling parameter {unknown[0]!r}")
    wants = bool(body.get("return_logprob"))
    start = int(body.get("logprob_start_len", -1)) if wants else -1
    if start > len(ids) or (start == len(ids) and not release.scores_nothing):
        raise Refused(400, f"logprob_start_len ({start}) is higher than the number of input tokens ({len(ids)})")
    request = Request(
        **_common(sampling, body),
        ids=ids,
        text=text if text is not None else tokenizer.decode_all(ids),
        assistant=None,
        max_new_tokens=int(sampling.get("max_new_tokens", 128)),
        return_logprob=wants,
        start=len(ids) if start < 0 else start,
        token_ids=(body.get("token_ids_logprob") or ()) if wants else (),
        top=int(body.get("top_logprobs_num") or 0) if wants else 0,
    )
    return _checked(request, release, context)


def chat(body: dict[str, Any], tokenizer: ModelTokenizer, release: Release, context: int) -> Request:
    """The request that the body of /v1/chat/completions makes. Raises Refused."""
    messages = body.get("messages")
    if not messages:
        raise Refused(release.empty_input, "messages is missing or empty")
    assistant = ""
    if messages[-1].get("role") == "assistant" and (release.continues_always or body.get("continue_final_message")):
        assistant = messages[-1]["content"]
        messages = messages[:-1]
    ids = [*tokenizer.template(messages), *tokenizer.encode(assistant)]
    limit = body.get("max_completion_tokens") if not release.continues_always else None
    limit = limit or body.get("max_tokens") or context - len(ids) - 1
    request = Request(
        **_common(body, body),
        ids=ids,
        text=tokenizer.decode_all(ids),
        assistant=assistant,
        max_new_tokens=int(limit),
        return_logprob=False,
        start=len(ids),
    )
    return _checked(request, release, context)


def _common(sampling: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What both kinds of request may say in the same words."""
    stop = sampling.get("stop")
    return {
        "temperature": float(sampling.get("temperature", 1.0)),
        "stop": [stop] if isinstance(stop, str) else list(stop or ()),
        "keep_stop": bool(sampling.get("no_stop_trim")),
        "ignore_eos": bool(sampling.get("ignore_eos")),
        "rid": body.get("rid"),
    }


def _checked(request: Request, release: Release, context: int) -> Request:
    length, new = len(request.ids), request.max_new_tokens
    if length >= context:
        raise Refused(400, f"the input ({length} tokens) is longer than the model's context length ({context} tokens)")
    longest = context - release.longest_prompt_less
    if length >= longest and length + new <= context:
        raise Refused(400, f"the input ({length} tokens) exceeds the maximum allowed length ({longest} tokens)")
    if length + new > context:
        raise Refused(400, f"{length} input tokens and {new} new ones exceed the context length of {context} tokens")
    if request.temperature < 0 and release.checks_temperature:
        raise Refused(400, f"temperature must be non-negative, got {request.temperature}")
    return request
