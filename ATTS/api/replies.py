"""What clients get: the OpenAI API's replies, by the types of its own client, with what the pair adds."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from openai.types import Completion, CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice as ChatChoice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic import BaseModel

from ATTS.api.cost import Cost
from ATTS.api.pair import Choice

DONE = b"data: [DONE]\n\n"


class Usage(CompletionUsage):
    """Tokens of the prompt by the target's vocabulary and of the texts in the reply; then all that the answer cost,
    every sample of a vote included."""

    draft_tokens: int
    target_tokens: int
    scored_tokens: int
    discarded_tokens: int
    scored_chunks: int
    rejected_chunks: int


class Chosen(BaseModel):
    """How a choice came about. ``votes``: samples that gave its answer, of ``samples`` that ran to their end."""

    answer: str | None
    status: str
    votes: int
    samples: int


class OwnChatChoice(ChatChoice):
    """A choice of a chat completion, with this server's fields."""

    atts: Chosen


class Chat(ChatCompletion):
    """Of /v1/chat/completions."""

    choices: list[OwnChatChoice]  # type: ignore[assignment]
    usage: Usage


class OwnTextChoice(CompletionChoice):
    """A choice of a completion, with this server's fields."""

    finish_reason: Literal["stop", "length", "content_filter"] | None  # type: ignore[assignment]  # None: streaming
    atts: Chosen | None = None


class Text(Completion):
    """Of /v1/completions, and its parts."""

    choices: list[OwnTextChoice]  # type: ignore[assignment]
    usage: Usage | None = None


class OwnChunkChoice(ChunkChoice):
    """A choice of a streamed chunk, with this server's fields."""

    atts: Chosen | None = None


class ChatPart(ChatCompletionChunk):
    """A part of /v1/chat/completions."""

    choices: list[OwnChunkChoice]  # type: ignore[assignment]
    usage: Usage | None = None


class Reply:
    """The replies to one request."""

    def __init__(self, model: str, chat: bool, prompt_tokens: int) -> None:
        self._chat, self._prompt_tokens = chat, prompt_tokens
        self._common: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }
        self._begun: set[int] = set()

    def whole(self, choices: Sequence[Choice]) -> Chat | Text:
        """Not streaming."""
        if not self._chat:
            return self._text([_text(index, one.sample.text, one) for index, one in enumerate(choices)], choices)
        return Chat(
            choices=[
                OwnChatChoice(
                    index=index,
                    message=ChatCompletionMessage(role="assistant", content=one.sample.text),
                    finish_reason=one.finish_reason,
                    atts=chosen(one),
                )
                for index, one in enumerate(choices)
            ],
            object="chat.completion",
            usage=self.usage(choices),
            **self._common,
        )

    def part(self, index: int, text: str) -> bytes:
        """Streaming: a new part of a choice's text."""
        return _sent(self._part(index, text, None))

    def last(self, choices: Sequence[Choice], with_usage: bool) -> bytes:
        """Streaming: how each choice ended, the usage if it was asked for, and the end."""
        events: list[ChatPart | Text] = [self._part(index, None, one) for index, one in enumerate(choices)]
        if with_usage:
            usage = self.usage(choices)
            part = ChatPart(choices=[], object="chat.completion.chunk", usage=usage, **self._common)
            events.append(part if self._chat else self._text([], choices))
        return b"".join(map(_sent, events)) + DONE

    def _part(self, index: int, text: str | None, ended: Choice | None) -> "ChatPart | Text":
        if not self._chat:
            return self._text([_text(index, text or "", ended)], None)
        delta: dict[str, Any] = {} if text is None else {"content": text}
        if index not in self._begun:
            delta["role"] = "assistant"
        self._begun.add(index)
        own = OwnChunkChoice(index=index, delta=ChoiceDelta(**delta), finish_reason=None)
        if ended is not None:
            own.finish_reason, own.atts = ended.finish_reason, chosen(ended)
        return ChatPart(choices=[own], object="chat.completion.chunk", **self._common)

    def _text(self, choices: list[OwnTextChoice], paid: Sequence[Choice] | None) -> Text:
        usage: dict[str, Any] = {} if paid is None else {"usage": self.usage(paid)}
        return Text(choices=choices, object="text_completion", **usage, **self._common)

    def usage(self, choices: Sequence[Choice]) -> Usage:
        """Of all choices."""
        cost = Cost()
        for one in choices:
            cost.add(one.cost)
        completion = sum(one.sample.tokens for one in choices)
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=completion,
            total_tokens=self._prompt_tokens + completion,
            draft_tokens=cost.draft_tokens,
            target_tokens=cost.target_tokens,
            scored_tokens=cost.scored_tokens,
            discarded_tokens=cost.discarded_tokens,
            scored_chunks=cost.scored,
            rejected_chunks=cost.rejected,
        )


def chosen(choice: Choice) -> Chosen:
    """A choice's own field in a reply."""
    sample = choice.sample
    return Chosen(answer=sample.answer, status=sample.status.value, votes=choice.votes, samples=choice.samples)


def as_json(reply: BaseModel) -> bytes:
    """A reply's body."""
    return reply.model_dump_json(exclude_unset=True).encode()


def _text(index: int, text: str, ended: Choice | None) -> OwnTextChoice:
    if ended is None:
        return OwnTextChoice(index=index, text=text, finish_reason=None)
    return OwnTextChoice(index=index, text=text, finish_reason=ended.finish_reason, atts=chosen(ended))


def _sent(event: BaseModel) -> bytes:
    """As a server-sent event."""
    return b"data: " + as_json(event) + b"\n\n"
