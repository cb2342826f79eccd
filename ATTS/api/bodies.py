"""What clients send: the OpenAI API's requests, checked. What isn't served is refused by name, not ignored."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ATTS.api.settings import MOST_SAMPLES
from ATTS.votes import stop

Stop = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(lambda stop: () if stop is None else (stop,) if isinstance(stop, str) else stop),
    Field(max_length=16),
]
StopRule = Literal["none", "majority", "beta", "asc", "esc"]  # es goes by confidence, which nobody is asked for here
Ignored = Any  # says nothing about the text

# Fields of the API that change a text in ways that a pair can't, and why.
BOTH = "the text has two authors, and each has probabilities of its own"
NOT_SERVED = {
    "logprobs": BOTH,
    "top_logprobs": BOTH,
    "logit_bias": "draft and target have vocabularies of their own",
    "tools": "the loop writes text: call tools from your own code",
    "tool_choice": "the loop writes text: call tools from your own code",
    "functions": "the loop writes text: call tools from your own code",
    "function_call": "the loop writes text: call tools from your own code",
    "response_format": "no grammar holds across two authors",
    "presence_penalty": "a penalty of one author doesn't know the other's tokens",
    "frequency_penalty": "a penalty of one author doesn't know the other's tokens",
    "audio": "the loop writes text",
    "echo": "the prompt is not scored",
    "suffix": "the loop writes forwards",
    "best_of": "use samples and stop_rule, which choose by vote",
}
HARMLESS: dict[str, tuple[Any, ...]] = {  # values that ask for nothing
    "tool_choice": ("none",),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
}


class StreamOptions(BaseModel):
    """``stream_options``."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of request share."""

    model_config = ConfigDict(extra="forbid")

    model: str
    n: int = Field(1, ge=1, le=128)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, description="of both models; default: the server's flags")
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Stop = ()
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1 - 2**16,
        description="of the sampling, where the SGLang servers are deterministic, and of --takeover random",
    )
    stream: bool = False
    stream_options: StreamOptions | None = None
    reasoning_effort: str | None = Field(None, description="a name of the server's table: rate, turns and samples")
    samples: int | None = Field(None, ge=1, le=MOST_SAMPLES, description="of each choice, which is found by vote")
    stop_rule: StopRule = Field("majority", description="when the samples that ended decide it; none: all are run")
    stop_threshold: float | None = Field(None, description="of the stop_rule")
    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    parallel_tool_calls: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _served(cls, body: Any) -> Any:
        """Refuses what isn't served, unless its value asks for nothing."""
        if not isinstance(body, dict):
            return body
        for name, reason in NOT_SERVED.items():
            value = body.get(name)
            harmless = not value or value in HARMLESS.get(name, ()) or (name == "best_of" and value == body.get("n", 1))
            if not harmless or (name == "logprobs" and value is not None and value is not False):
                raise ValueError(f"{name} is not served: {reason}")
        return {name: value for name, value in body.items() if name not in NOT_SERVED and value is not None}

    @model_validator(mode="after")
    def _decides(self) -> Self:
        try:
            _ = stop.rule(self.stop_rule, self.stop_threshold)
        except ValueError as error:
            named = str(error).replace("--stop_threshold", "stop_threshold").replace("--stop", "stop_rule")
            raise ValueError(named) from None
        return self

    @property
    def most_tokens(self) -> int | None:
        """Of the text."""
        return self.max_tokens


class TextPart(BaseModel):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message. A tool's messages are not served."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart],
        BeforeValidator(lambda text: [{"type": "text", "text": text}] if isinstance(text, str) else text),
    ]

    @property
    def text(self) -> str:
        """All its parts."""
        return "".join(part.text for part in self.content)


class ChatBody(Body):
    """A body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self

    @property
    def most_tokens(self) -> int | None:
        """The limit on tokens, by either of its two names."""
        return self.max_completion_tokens or self.max_tokens


class TextBody(Body):
    """A body of /v1/completions: text, not token ids, because each model has a vocabulary of its own."""

    prompt: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(lambda prompt: [prompt] if isinstance(prompt, str) else prompt),
        Field(min_length=1, max_length=128),
    ]
