"""Language models behind an OpenAI-compatible endpoint: one reads the final answer off a chain, and
judges (judge.py) ask through the same door."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict

from ATTS.errors import UserError
from ATTS.tasks.answers import INVALID
from ATTS.tasks.thoughts import without_thoughts

DEFAULT_MODEL = "gpt-4o"
LONGEST = 12_000  # characters of a chain that are shown; the answer stands at its end
GIVE_UP = 3  # requests that failed for good before any succeeded: the endpoint doesn't work
UNREADABLE = 20  # replies that can't be read before any can: the model doesn't do what it is asked
ROOM_TO_THINK = (4096, 32_768)  # tokens that a reply gets which was cut off before it said anything
SLOWEST = 10  # tokens a second at which it may be written
_INSTRUCTION = (
    "You are given a question and a worked solution. Reply with the solution's final answer only, as it"
    " stands there, without explanation. Do not solve the question yourself. If the solution states no"
    f" final answer, reply {INVALID}."
)


class NoReply(Exception):
    """A request failed for good, all retries included, or was replied to with nothing; another one may not."""


class Replies(Protocol):
    """Earlier replies by the content of the request."""

    def get(self, name: str) -> str | None:
        """The reply to a request; None if it is unknown."""
        ...

    async def add(self, name: str, reply: str) -> None:
        """Keeps a reply."""
        ...


class EndpointCost(TypedDict):
    """What an endpoint was asked and what it cost."""

    model: str
    requests: int  # that were answered
    cached: int  # answers that were on the disk already
    failed: int  # requests without an answer, retries included
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class _Form:
    """What the endpoint takes: found out by its refusals."""

    limit: str | None = "max_tokens"  # the name of the parameter; None: it takes none
    greedy: bool = True
    system: bool = True
    unpenalised: bool = True  # says so: SGLang and vLLM else take a model's own penalty of repetitions (Qwen2.5: 1.1)

    def body(self, model: str, system: str, user: str, max_tokens: int) -> dict[str, Any]:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        if not self.system:
            messages = [{"role": "user", "content": f"{system}\n\n{user}"}]
        limit = {self.limit: max_tokens} if self.limit else {}
        return {"model": model, **({"temperature": 0} if self.greedy else {}), **limit, "messages": messages}

    def after(self, refusal: str) -> "_Form | None":
        """The form to try next; None if the refusal is of something else."""
        if self.limit and self.limit in refusal:
            return replace(self, limit="max_completion_tokens" if self.limit == "max_tokens" else None)
        if self.unpenalised and "repetition_penalty" in refusal:
            return replace(self, unpenalised=False)
        if self.greedy and "temperature" in refusal:
            return replace(self, greedy=False)
        if self.system and "system" in refusal and "role" in refusal:
            return replace(self, system=False)
        return None

    @property
    def extensions(self) -> dict[str, Any]:
        """Fields of the request that are not of the OpenAI API."""
        return {"repetition_penalty": 1.0} if self.unpenalised else {}


class Endpoint:
    """Asks one model. Use as an async context manager. The key comes from OPENAI_API_KEY and is never
    written or logged.

    Rate limits (Retry-After heeded), server errors, time-outs and torn replies are tried again; a
    parameter that the endpoint refuses is left out or replaced. ``cache`` holds earlier replies;
    without it nothing is kept.
    """

    def __init__(
        self,
        flag: str,
        environment: Mapping[str, str] = os.environ,
        retries: int = 3,
        timeout: float = 60.0,
        cache: Replies | None = None,
    ) -> None:
        """``flag`` is what the person gave that needs this. Raises UserError."""
        import openai  # takes a second; most commands never ask a model

        key = (environment.get("OPENAI_API_KEY") or "").strip()
        if not key:
            raise UserError(f"{flag} needs OPENAI_API_KEY (and OPENAI_BASE_URL, OPENAI_MODEL) to be set")
        if not (key.isascii() and key.isprintable()):
            raise UserError("OPENAI_API_KEY holds characters that no key has: set it again")
        self.model = environment.get("OPENAI_MODEL") or DEFAULT_MODEL
        self.cost = EndpointCost(model=self.model, requests=0, cached=0, failed=0, prompt_tokens=0, completion_tokens=0)
        self.unreadable = 0
        self.readable = 0
        self._retries, self._timeout = retries, timeout
        self._cache = cache
        self._form = _Form()
        self._room = 0  # tokens that were needed so far because the model thinks
        self._shown = ""  # the first reply that could not be read
        try:
            self._client = openai.AsyncOpenAI(
                api_key=key, base_url=environment.get("OPENAI_BASE_URL") or None, max_retries=retries, timeout=timeout
            )
        except Exception as error:  # a proxy or a certificate file of the environment that can't be used
            raise UserError(
                f"{flag}: no connection to the model can be set up ({type(error).__name__}: {error}); check"
                " OPENAI_BASE_URL, ALL_PROXY and HTTPS_PROXY (a SOCKS proxy needs pip install 'httpx[socks]'),"
                " SSL_CERT_FILE and SSL_CERT_DIR"
            ) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, system: str, user: str, max_tokens: int, readable: Callable[[str], bool] = bool) -> str:
        """The model's reply without its thoughts. Raises NoReply, UserError.

        A reply that was cut off before it could be read is asked for again with more room. One that is not
        ``readable`` is returned, but not kept.
        """
        system, user = _encodable(system), _encodable(user)
        request = _Form().body(self.model, system, user, max_tokens)
        name = sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        known = self._cache.get(name) if self._cache else None
        if known is not None:
            text, _ = without_thoughts(known)
            if readable(text):
                self.cost["cached"] += 1
                self.readable += 1
                return text
        text = await self._reply(system, user, max_tokens, readable)
        if readable(text):
            self.readable += 1
            if self._cache:
                await self._cache.add(name, text)
        else:
            self.unreadable += 1
            self._shown = self._shown or text
            if not self.readable and self.unreadable >= UNREADABLE:
                self.check()
        return text

    def check(self) -> None:
        """Raises UserError if there were replies and none could be read."""
        if self.unreadable and not self.readable:
            shown = repr(self._shown[:100]) if self._shown else "nothing"
            raise UserError(
                f"none of {self.unreadable} replies of the model {self.model} could be read (it said {shown}): choose"
                " another OPENAI_MODEL, or give it more room if it thinks before it replies"
            )

    async def _reply(self, system: str, user: str, max_tokens: int, readable: Callable[[str], bool]) -> str:
        limits = [limit for limit in (max_tokens, *ROOM_TO_THINK) if limit >= self._room]
        text = ""
        for number, limit in enumerate(limits):
            try:
                text, cut = await self._post(system, user, limit)
            except UserError:
                if number == 0:
                    raise
                return text  # more room than the model has: what it said with less stands
            if readable(text) or not cut:
                self._room = max(self._room, limit if number and readable(text) else 0)
                return text
        return text

    async def _post(self, system: str, user: str, max_tokens: int) -> tuple[str, bool]:
        """The reply without thoughts, and whether it was cut off."""
        import openai

        attempt = 0
        seconds = max_tokens / SLOWEST if max_tokens in ROOM_TO_THINK else 0
        while True:
            form = self._form
            try:
                reply = await self._client.chat.completions.create(
                    **form.body(self.model, system, user, max_tokens),
                    extra_body=form.extensions,
                    timeout=max(self._timeout, seconds),
                )
                text, cut = _said(reply)
            except (ValueError, AttributeError, TypeError) as error:  # a body that is torn or no completion
                attempt += 1
                if attempt <= self._retries:
                    continue
                raise self._failed(f"a reply that can't be read: {type(error).__name__}") from None
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if form is not self._form:  # another request has found out what is refused
                    continue
                following = form.after(str(error))
                if following is None:
                    raise UserError(f"the model {self.model} can't be asked: {self._told(error)}") from None
                self._form = following
                continue
            except (openai.RateLimitError, openai.InternalServerError, openai.APIConnectionError) as error:
                raise self._failed(self._told(error)) from None
            except openai.OpenAIError as error:  # the key, the model's name
                raise UserError(f"the model {self.model} can't be asked: {self._told(error)}") from None
            self.cost["requests"] += 1
            self.cost["prompt_tokens"] += reply.usage.prompt_tokens if reply.usage else 0
            self.cost["completion_tokens"] += reply.usage.completion_tokens if reply.usage else 0
            return text, cut

    def _failed(self, reason: str) -> Exception:
        self.cost["failed"] += 1
        if not self.cost["requests"] and self.cost["failed"] >= GIVE_UP:
            return UserError(
                f"the model {self.model} does not answer ({self.cost['failed']} requests failed): {reason}"
            )
        return NoReply(reason)

    def _told(self, error: Exception) -> str:
        cause = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) else ""
        message = f"{type(error).__name__}: {error}{cause}"
        return message.replace(self._client.api_key, "***")  # some endpoints repeat the key


def _said(reply: Any) -> tuple[str, bool]:
    """A completion's text without thoughts, and whether it was cut off before its end."""
    if not reply.choices:
        return "", False
    choice = reply.choices[0]
    text, thought = without_thoughts(_encodable(choice.message.content or ""))
    only_thoughts = not text and (thought or bool(getattr(choice.message, "reasoning_content", None)))
    return text, choice.finish_reason == "length" or only_thoughts


def _encodable(text: str) -> str:
    """Halves of characters (lone surrogates), which can be neither sent nor written, as question marks."""
    return text.encode(errors="replace").decode()


class Extractor:
    """Reads final answers. Use as an async context manager."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint or Endpoint("--extract_mode llm")

    async def final_answer(self, question: str, chain: str) -> str | None:
        """The chain's final answer, None if it has none. Raises UserError, also for one request that failed."""
        try:
            return await self.read(question, chain)
        except NoReply as error:
            raise UserError(f"the answer-extraction model failed: {error}") from None

    async def read(self, question: str, chain: str) -> str | None:
        """The chain's final answer, None if it has none. Raises NoReply, UserError."""
        request = f"Question:\n{question}\n\nSolution:\n{chain[-LONGEST:]}"
        text = await self.endpoint.ask(_INSTRUCTION, request, max_tokens=256)
        if not text:
            raise NoReply("it said nothing")
        return None if text.lower().rstrip(".") == INVALID else text

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.endpoint.__aexit__(kind, error, trace)
