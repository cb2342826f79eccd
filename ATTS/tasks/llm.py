"""Language models behind an OpenAI-compatible endpoint: one reads the final answer off a chain, and
judges (judge.py) ask through the same door."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from ATTS.errors import UserError
from ATTS.tasks.answers import INVALID

DEFAULT_MODEL = "gpt-4o"
LONGEST = 12_000  # characters of a chain that are shown; the answer stands at its end
GIVE_UP = 3  # requests that failed for good before any succeeded: the endpoint doesn't work
_INSTRUCTION = (
    "You are given a question and a worked solution. Reply with the solution's final answer only, as it"
    " stands there, without explanation. Do not solve the question yourself. If the solution states no"
    f" final answer, reply {INVALID}."
)


class NoReply(Exception):
    """A request failed for good, all retries included; another one may not."""


@dataclass
class Spent:
    """What an endpoint was asked and what it cost."""

    requests: int = 0  # that were answered
    cached: int = 0  # answers that were on the disk already
    failed: int = 0  # requests without an answer, retries included
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint:
    """Asks one model. The key comes from OPENAI_API_KEY and is never written or logged.

    Rate limits (Retry-After heeded), server errors, time-outs and torn replies are tried again.
    ``cache`` is a file of earlier replies by the content of the request; without it nothing is kept.
    """

    def __init__(
        self,
        flag: str,
        environment: Mapping[str, str] = os.environ,
        retries: int = 3,
        timeout: float = 60.0,
        cache: Path | None = None,
    ) -> None:
        """``flag`` is what the person gave that needs this. Raises UserError."""
        import openai  # takes a second; most commands never ask a model

        key = environment.get("OPENAI_API_KEY")
        if not key:
            raise UserError(f"{flag} needs OPENAI_API_KEY (and OPENAI_BASE_URL, OPENAI_MODEL) to be set")
        self.model = environment.get("OPENAI_MODEL") or DEFAULT_MODEL
        self.spent = Spent()
        self._retries = retries
        self._cache = _Cache(cache)
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=environment.get("OPENAI_BASE_URL") or None, max_retries=retries, timeout=timeout
        )

    async def ask(self, system: str, user: str, max_tokens: int) -> str:
        """The model's reply, empty if it said nothing (a refusal, for one). Raises NoReply, Problem."""
        request = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": max_tokens,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        }
        name = sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        known = self._cache.get(name)
        if known is not None:
            self.spent.cached += 1
            return known
        text = await self._post(request)
        self._cache.add(name, text)
        return text

    async def _post(self, request: dict[str, object]) -> str:
        import openai

        for attempt in range(self._retries + 1):
            try:
                reply = await self._client.chat.completions.create(**request)  # type: ignore[call-overload]
                text = (reply.choices[0].message.content or "").strip() if reply.choices else ""
            except (ValueError, AttributeError, TypeError) as error:  # a body that is torn or no completion
                if attempt < self._retries:
                    continue
                raise self._failed(f"a reply that can't be read: {type(error).__name__}") from None
            except (openai.RateLimitError, openai.InternalServerError, openai.APIConnectionError) as error:
                raise self._failed(self._told(error)) from None
            except openai.OpenAIError as error:  # the key, the model's name, the request
                raise UserError(f"the model {self.model} can't be asked: {self._told(error)}") from None
            self.spent.requests += 1
            self.spent.prompt_tokens += reply.usage.prompt_tokens if reply.usage else 0
            self.spent.completion_tokens += reply.usage.completion_tokens if reply.usage else 0
            return text
        raise AssertionError

    def _failed(self, reason: str) -> Exception:
        self.spent.failed += 1
        if not self.spent.requests and self.spent.failed >= GIVE_UP:
            return UserError(f"the model {self.model} does not answer ({self.spent.failed} requests failed): {reason}")
        return NoReply(reason)

    def _told(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}".replace(self._client.api_key, "***")  # some endpoints repeat the key

    def cost(self) -> dict[str, object]:
        return {"model": self.model, **asdict(self.spent)}

    async def close(self) -> None:
        await self._client.close()


class _Cache:
    """Replies by request, a JSON line each; a torn last line is ignored and asked again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        self._torn = False
        if path is None or not path.exists():
            return
        lines = path.read_text(errors="replace")
        self._torn = bool(lines) and not lines.endswith("\n")
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
                self._known[entry["request"]] = str(entry["reply"])
            except (ValueError, KeyError, TypeError):
                continue

    def get(self, name: str) -> str | None:
        return self._known.get(name)

    def add(self, name: str, reply: str) -> None:
        self._known[name] = reply
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"request": name, "reply": reply}).encode() + b"\n"
        with self._path.open("ab") as file:
            file.write(b"\n" + line if self._torn else line)
            file.flush()
            os.fsync(file.fileno())
        self._torn = False


class Extractor:
    """Reads final answers."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint or Endpoint("--extract_mode llm")

    async def final_answer(self, question: str, chain: str) -> str | None:
        """The chain's final answer, None if it has none. Raises UserError, also for one request that failed."""
        try:
            return await self.read(question, chain)
        except NoReply as error:
            raise UserError(f"the answer-extraction model failed: {error}") from None

    async def read(self, question: str, chain: str) -> str | None:
        """The chain's final answer, None if it has none. Raises NoReply, Problem."""
        asked = f"Question:\n{question}\n\nSolution:\n{chain[-LONGEST:]}"
        text = await self.endpoint.ask(_INSTRUCTION, asked, max_tokens=256)
        return None if not text or text.lower().rstrip(".") == INVALID else text

    async def close(self) -> None:
        await self.endpoint.close()
