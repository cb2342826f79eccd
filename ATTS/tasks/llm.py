"""An OpenAI-compatible model that reads the final answer off a chain."""

import os
from collections.abc import Mapping

import openai

from ATTS.problem import Problem
from ATTS.tasks.answers import INVALID

DEFAULT_MODEL = "gpt-4o"
LONGEST = 12_000  # characters of a chain that are shown; the answer stands at its end
_INSTRUCTION = (
    "You are given a question and a worked solution. Reply with the solution's final answer only, as it"
    " stands there, without explanation. Do not solve the question yourself. If the solution states no"
    f" final answer, reply {INVALID}."
)


class Extractor:
    """Reads final answers. The key comes from OPENAI_API_KEY and is never written or logged."""

    def __init__(self, environment: Mapping[str, str] = os.environ, retries: int = 3, timeout: float = 60.0) -> None:
        key = environment.get("OPENAI_API_KEY")
        if not key:
            raise Problem("--extract_mode llm needs OPENAI_API_KEY (and OPENAI_BASE_URL, OPENAI_MODEL) to be set")
        self._model = environment.get("OPENAI_MODEL") or DEFAULT_MODEL
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=environment.get("OPENAI_BASE_URL") or None, max_retries=retries, timeout=timeout
        )

    async def final_answer(self, question: str, chain: str) -> str | None:
        """The chain's final answer, None if it has none. Raises Problem."""
        try:
            reply = await self._client.chat.completions.create(
                model=self._model,
                temperature=0,
                max_tokens=256,
                messages=[
                    {"role": "system", "content": _INSTRUCTION},
                    {"role": "user", "content": f"Question:\n{question}\n\nSolution:\n{chain[-LONGEST:]}"},
                ],
            )
        except openai.OpenAIError as error:
            told = str(error).replace(self._client.api_key, "***")  # some endpoints repeat the key
            raise Problem(f"the answer-extraction model failed: {type(error).__name__}: {told}") from None
        text = (reply.choices[0].message.content or "").strip() if reply.choices else ""
        return None if not text or text.lower().rstrip(".") == INVALID else text

    async def close(self) -> None:
        await self._client.close()
