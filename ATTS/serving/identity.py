"""Whether two servers serve the same model: by its name, its tokens of a text, and its template."""

from dataclasses import dataclass
from pathlib import PurePath

import aiohttp
import orjson

from ATTS.serving import keys
from ATTS.serving.server_info import JSON, PROBE, ServerInfo, inspect, tokenized
from ATTS.serving.tokenizer import PROBE as TEXT

CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 1?"}]


@dataclass(frozen=True)
class Identity:
    """What a server says of its model; None where it doesn't say."""

    info: ServerInfo
    ids: list[int] | None  # of a text
    templated: int | None  # tokens of a conversation behind its template


async def identity(session: aiohttp.ClientSession, url: str, role: str, name: str) -> Identity:
    """Raises UserError if no such server is there."""
    info = await inspect(session, url, role, name)
    ids = await tokenized(session, url, role, name, TEXT.lstrip())
    return Identity(info, ids, await _templated(session, url, role, name))


async def _templated(session: aiohttp.ClientSession, url: str, role: str, name: str) -> int | None:
    """Counted by the server, in a request for one token: no page tells the template."""
    body = {"model": name, "messages": CONVERSATION, "max_tokens": 1, "temperature": 0.0}
    try:
        async with session.post(
            url + "/v1/chat/completions", data=orjson.dumps(body), headers=JSON | keys.headers(role), timeout=PROBE
        ) as response:
            return int(orjson.loads(await response.read())["usage"]["prompt_tokens"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        return None


def difference(first: Identity, other: Identity) -> str | None:
    """How ``other`` is no copy of ``first``, as half a sentence; None if it is one, as far as both say."""
    model, own = first.info.model_path, other.info.model_path
    if PurePath(model).name != PurePath(own).name:
        return f"serves {own}, and the first {model}"
    if first.ids is not None and other.ids is not None and first.ids != other.ids:
        return f"has another tokenizer than the first: of {TEXT.lstrip()!r} it makes {other.ids}, the first {first.ids}"
    if first.templated is not None and other.templated is not None and first.templated != other.templated:
        return (
            "has another chat template than the first: a conversation of two messages comes to"
            f" {other.templated} tokens there and to {first.templated} at the first"
        )
    return None
