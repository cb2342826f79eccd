"""What stands before an answer: token ids of a conversation or a text, for each model."""

from collections.abc import Sequence
from dataclasses import dataclass

from ATTS.api.bodies import Message
from ATTS.api.problems import BadRequest
from ATTS.errors import UserError
from ATTS.runs.models import ChunkModel

BYTES_A_TOKEN = 32  # a prompt with more bytes than so many a token of the context is refused before it is encoded


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids before the answer when the draft writes, the target writes, and the target scores."""

    draft: list[int]
    target: list[int]
    scoring: list[int]


def conversation(draft: ChunkModel, target: ChunkModel, messages: Sequence[Message], system: str) -> Prompts:
    """Of messages. ``system``: the draft's system message if they have none, as in calibration. The target scores
    behind its chat template, or behind the raw text and a newline, as a run does. Raises BadRequest."""
    given = [{"role": "system" if one.role == "developer" else one.role, "content": one.text} for one in messages]
    raw = "\n\n".join(one["content"] for one in given)
    _check(raw, draft, target)
    own = any(one["role"] == "system" for one in given)
    first = given if own or not system else [{"role": "system", "content": system}, *given]
    try:
        writing = target.tokenizer.template(given)
        scoring = writing if target.scores_with_template else target.tokenizer.plain_prompt(raw + "\n")
        return _fitting(Prompts(draft.tokenizer.template(first), writing, scoring), draft, target)
    except UserError as error:  # of a template that can't write such a conversation
        raise BadRequest(str(error), "messages") from None


def plain(draft: ChunkModel, target: ChunkModel, text: str) -> Prompts:
    """Of a text that both models continue. Raises BadRequest."""
    _check(text, draft, target)
    second = target.tokenizer.plain_prompt(text)
    return _fitting(Prompts(draft.tokenizer.plain_prompt(text), second, second), draft, target)


def _check(text: str, draft: ChunkModel, target: ChunkModel) -> None:
    """Raises BadRequest for a text that would only be encoded to be refused."""
    for model in (draft, target):
        context = model.model.info.context_length
        if context is not None and len(text) > BYTES_A_TOKEN * context:
            raise _too_long(f"a prompt of {len(text)} characters", model)


def _fitting(prompts: Prompts, draft: ChunkModel, target: ChunkModel) -> Prompts:
    """Raises BadRequest where a model has no room left to write a token."""
    for model, longest in ((draft, len(prompts.draft)), (target, max(len(prompts.target), len(prompts.scoring)))):
        context = model.model.info.context_length
        if context is not None and longest + 2 > context:
            raise _too_long(f"a prompt of {longest} tokens", model)
    return prompts


def _too_long(what: str, model: ChunkModel) -> BadRequest:
    context = model.model.info.context_length
    return BadRequest(
        f"{what} doesn't fit the {model.model.role}'s context of {context} tokens: send less text, or start that server"
        " with a longer context",
        "messages",
        "context_length_exceeded",
    )
