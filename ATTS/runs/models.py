"""The models of a run, ready to take part in samples: server checked, tokenizer loaded."""

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from ATTS import __version__, demo
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.method.chain import CacheStats, ModelView
from ATTS.method.prompts import SYSTEM
from ATTS.runs.parts import Draft, Requests, Target
from ATTS.serving import thinking
from ATTS.serving.chat_template import Thinking
from ATTS.serving.client import SGLangModel, Slots
from ATTS.serving.server_info import inspect, tokenized
from ATTS.serving.tokenizer import PROBE, ModelTokenizer
from ATTS.tasks.datasets import Question


class ServedModel(Protocol):
    """A model of a run, whatever part it plays."""

    @property
    def model(self) -> SGLangModel:
        """The client of its server."""
        ...

    def check(self, questions: Sequence[Question]) -> None:
        """Raises UserError for a question that the model has no room for."""
        ...


@dataclass(frozen=True)
class StepModel:
    """A model of a baseline that writes no chunks. ``prompt``: tokens of a question's prompt, 0 if unknown."""

    model: SGLangModel
    prompt: Callable[[Question], int]
    room: int  # tokens that must be free behind it

    def check(self, questions: Sequence[Question]) -> None:
        """Raises UserError for a question that the model's tokenizer can't write."""
        context = self.model.info.context_length
        for question in questions:
            if context is not None and self.prompt(question) + self.room >= context:
                raise UserError(
                    f"question {question.index} has a prompt of {self.prompt(question)} tokens, which leaves no room"
                    f" in the {self.model.role} server's context of {context} tokens: start that server with a"
                    " longer context"
                )


@dataclass(frozen=True)
class ChunkModel:
    """One model of a run. ``scores_with_template``: None for a model that doesn't score."""

    model: SGLangModel
    tokenizer: ModelTokenizer
    max_tokens: int
    temperature: float
    system: str | None  # the system message when this model writes
    scores_with_template: bool | None = None
    memory: CacheStats = field(default_factory=CacheStats, compare=False)  # what its server keeps of the chains

    def reader(self, question: Question) -> ModelView:
        """This model's view of a new chain for ``question``."""
        writing, scoring = _prompts(self, question)
        return ModelView(
            self.model, self.tokenizer, writing, scoring, self.max_tokens, self.temperature, memory=self.memory
        )

    def check(self, questions: Sequence[Question]) -> None:
        """Raises UserError for a question whose prompt leaves no room for a chunk."""
        context = self.model.info.context_length
        if context is None:
            return
        for question in questions:
            length = max(map(len, _prompts(self, question)))
            if length + self.max_tokens >= context:
                raise UserError(
                    f"question {question.index} has a prompt of {length} tokens; with chunks of {self.max_tokens}"
                    f" it does not fit the {self.model.role} server's context of {context} tokens: start that server"
                    " with a longer context or use smaller chunks"
                )


@lru_cache(maxsize=256)  # the repeats of a question come together
def _prompts(served: ChunkModel, question: Question) -> tuple[list[int], list[int]]:
    """Token ids before the chain when the model writes and when it scores."""
    writing = served.tokenizer.prompt(question.prompt, served.system)
    if served.scores_with_template is None or served.scores_with_template:
        return writing, writing
    return writing, served.tokenizer.plain_prompt(question.prompt + "\n")


async def draft(
    session: aiohttp.ClientSession, part: Draft, requests: Requests, limit: Slots, role: str = "draft"
) -> ChunkModel:
    """The model that writes first: with the system message on every turn, so that its prompt stays."""
    model, tokenizer = await connect(session, requests, role, part.url, part.name, limit)
    return ChunkModel(model, tokenizer, part.max_tokens, part.temperature, system=SYSTEM)


async def target(
    session: aiohttp.ClientSession,
    part: Target,
    requests: Requests,
    limit: Slots,
    template: bool | None,
    scoring_limit: Slots | None = None,
) -> ChunkModel:
    """The model that scores, behind its chat ``template`` or not (None: it doesn't), and continues.
    ``scoring_limit``: a limit of its own for scoring."""
    model, tokenizer = await connect(
        session, requests, "target", part.url, part.name, limit, scoring_limit=scoring_limit
    )
    return ChunkModel(model, tokenizer, part.max_tokens, part.temperature, None, template)


async def connect(
    session: aiohttp.ClientSession,
    requests: Requests,
    role: str,
    url: str,
    name: str,
    limit: Slots,
    top_k: int = -1,
    scoring_limit: Slots | None = None,
) -> tuple[SGLangModel, ModelTokenizer]:
    """A model and its tokenizer. Raises UserError."""
    info = await inspect(session, url, role, name)
    model = SGLangModel(
        *(session, url, role, info, limit, requests.max_retries, requests.top_p, top_k, scoring_limit),
        stall=requests.stall_timeout,
    )
    tokenizer = await _tokenizer(session, model, name, requests.thinking)
    if tokenizer.unannounced_end is not None:
        model = model.sampling(stop_token_ids=[tokenizer.unannounced_end])
    return model, tokenizer


def _source(model: SGLangModel, name: str) -> str:
    folder = model.info.tokenizer_path
    return folder if folder and Path(folder).is_dir() else demo.resolve(name)


async def _tokenizer(
    session: aiohttp.ClientSession, model: SGLangModel, name: str, think: Thinking = "default"
) -> ModelTokenizer:
    """From the folder the server reads if it is on this machine, else by the model's name.

    Raises UserError if the server makes other ids of a text, or if the chat template can't be used.
    """
    tokenizer = ModelTokenizer(_source(model, name), think)
    tokenizer.prompt(PROBE.strip(), SYSTEM)
    # Loaders of SentencePiece models differ in what they make of a blank at the very beginning; no prompt begins so.
    probe = PROBE.lstrip()
    own, served = tokenizer.begin(probe), await tokenized(session, model.url, model.role, name, probe)
    if served is not None and served not in (own, tokenizer.plain_prompt(probe)):  # some add begin-of-text unasked
        raise UserError(
            f"the {model.role} server at {model.url} has another tokenizer than {tokenizer.source!r}: of the text"
            f" {probe!r} the server makes the tokens {served}, the files here make {own}; start the server with these"
            " files (--tokenizer-path), or with an SGLang and a transformers that take tokenizer.json as it is"
        )
    return tokenizer


def say_how_they_think(models: Sequence[ChunkModel], answer_after_think: bool) -> None:
    """In a line, where a template opens thoughts."""
    if text := thinking.note({one.model.role: one.tokenizer.opens_thinking for one in models}, answer_after_think):
        say(text)


LIBRARIES = ("aiohttp", "datasets", "math-verify", "numpy", "transformers")


def surroundings(models: Sequence[ServedModel]) -> dict[str, Any]:
    """Versions, servers and date."""
    versions = {"ATTS": __version__, "python": platform.python_version()}
    versions |= {library: importlib.metadata.version(library) for library in LIBRARIES}
    servers = {
        served.model.role: {
            "url": served.model.url,
            "model_path": served.model.info.model_path,
            "sglang": served.model.info.version,
            "context_length": served.model.info.context_length,
        }
        for served in models
    }
    return {"versions": versions, "servers": servers, "date": datetime.now(UTC).isoformat(timespec="seconds")}
