"""What a server answered, read and checked. Anything but what was asked for may pass: it is asked for again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson

from ATTS.errors import ScoreFailed
from ATTS.method.score import checked
from ATTS.serving.retry import BadScore, Transient

Body = dict[str, Any]
Content = TypeVar("Content")
SHOWN = 300  # bytes of a reply in a message


class Written(NamedTuple):
    """Token ids without an end-of-text token; whether the author ended the text; the stop string it ends in."""

    ids: list[int]
    ended: bool
    stopped: str | None


class Counts(NamedTuple):
    """Tokens of a request as the server counted them; None where it doesn't say."""

    prompt: int | None
    cached: int | None
    completion: int | None


def body(raw: bytes) -> Body:
    """The object in a reply. Raises Transient for anything else, and for a request that the server broke off."""
    try:
        reply = orjson.loads(raw)
    except ValueError:
        raise Transient(f"a reply that is not JSON: {excerpt(raw)}") from None
    if not isinstance(reply, dict):
        raise Transient(f"a reply that is not an object: {excerpt(raw)}")
    meta = reply.get("meta_info")
    finish = meta.get("finish_reason") if isinstance(meta, dict) else None
    if isinstance(finish, dict) and finish.get("type") == "abort":
        raise Transient(f"the server aborted the request: {finish.get('message', 'no reason given')}")
    return reply


def content(reply: Body, read: Callable[[Body], Content]) -> Content:
    """What ``read`` finds in a reply. Raises Transient where that is not there or of another kind."""
    try:
        return read(reply)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        shown = excerpt(orjson.dumps(reply))
        raise Transient(f"a reply without what was asked for ({type(error).__name__}: {error}): {shown}") from None


def counts(reply: Body) -> Counts:
    """Raises TypeError."""
    meta = reply.get("meta_info") or reply.get("usage") or {}
    return Counts(*(_count(meta, f"{name}_tokens") for name in ("prompt", "cached", "completion")))


def written(reply: Body, stop: Sequence[str]) -> Written:
    """Of a request that writes, with these stop strings. Raises KeyError, TypeError, IndexError."""
    meta = reply["meta_info"]
    ids = reply.get("output_ids")
    if ids is None:  # a release that gives them inside log-probabilities
        ids = [entry[1] for entry in meta["output_token_logprobs"]]
    if not isinstance(ids, list) or not all(type(one) is int and one >= 0 for one in ids):
        raise TypeError("its tokens are not ids")
    finish = meta["finish_reason"]
    matched = finish.get("matched") if finish["type"] == "stop" else None
    stopped = matched if matched in stop else None
    ended = finish["type"] == "stop" and stopped is None
    # Some releases count the end-of-text token among the ids, some don't.
    return Written(ids[:-1] if ended and ids and ids[-1] == matched else ids, ended, stopped)


def scored(reply: Body, ids: Sequence[int], start: int) -> list[float | None]:
    """Log-probabilities of ``ids[start:]``; the reply's first entry, of the token before, is empty. Raises BadScore."""
    try:
        entries = reply["meta_info"]["input_token_logprobs"][1:]
        tokens, values = [entry[1] for entry in entries], [entry[0] for entry in entries]
    except (KeyError, TypeError, IndexError) as error:
        raise BadScore(f"it returned no log-probabilities ({error!r})") from None
    if tokens != list(ids[start:]):
        raise BadScore("it scored other tokens than it was sent")
    return _logprobs(values, len(tokens))


def best(reply: Body, count: int) -> list[float | None]:
    """Log-probabilities of the likeliest tokens at ``count`` positions. Raises BadScore."""
    try:
        values = [entry[0][0] for entry in reply["meta_info"]["input_top_logprobs"][1:]]
    except (KeyError, TypeError, IndexError) as error:
        raise BadScore(f"it returned no likeliest tokens ({error!r})") from None
    return _logprobs(values, count)


def excerpt(raw: bytes) -> str:
    """The beginning of a reply, for messages."""
    return raw[:SHOWN].decode("utf-8", "replace").strip() or "empty"


def _logprobs(values: Sequence[Any], count: int) -> list[float | None]:
    try:
        return list(checked(values, count))
    except (ScoreFailed, TypeError) as error:
        raise BadScore(str(error)) from None


def _count(meta: Mapping[str, Any], name: str) -> int | None:
    value = meta.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise TypeError(f"its {name} is no count")
    return value
