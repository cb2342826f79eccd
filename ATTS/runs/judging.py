"""Who judges: the flags for it, and a folder graded accordingly."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.runs.accuracy import accuracy
from ATTS.runs.folders import Folder
from ATTS.runs.grading import JudgeName, by_llm, by_math
from ATTS.runs.settings.parts import require
from ATTS.tasks.judge import LLMJudge
from ATTS.tasks.llm import Endpoint, Extractor


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Flags of commands that grade."""

    judge: JudgeName = "math"
    """Who says whether an answer is right: algebra (math), an OpenAI-compatible model (llm), or the model only
    where algebra says different or undecided (both). The model: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL."""

    concurrency: int = 8
    """Most requests in flight at the model."""

    llm_cache: Path = Path("evaluation/llm_replies.jsonl")
    """The model's replies by content, so that the same command asks nothing twice."""

    def __post_init__(self) -> None:
        require(self.concurrency >= 1, "--concurrency must be at least 1")


def extractor(settings: JudgeSettings) -> Extractor:
    """A model that reads answers, its replies kept where the judge's are. Raises Problem."""
    return Extractor(Endpoint("--extract_mode llm", cache=settings.llm_cache))


async def graded(folder: Folder, settings: JudgeSettings) -> dict[str, Any]:
    """The folder's accuracy; with a model as judge its cost and disagreements under ``judge``. Raises Problem."""
    judge = None
    if settings.judge != "math":
        judge = LLMJudge(Endpoint(f"--judge {settings.judge}", cache=settings.llm_cache))
    verdicts = await asyncio.to_thread(by_math, folder.samples, folder.references, folder.repeats)
    if judge is None:
        return accuracy(verdicts, folder.repeats)
    everywhere = settings.judge == "llm"
    try:
        verdicts, said = await by_llm(verdicts, folder.problems, judge, everywhere, settings.concurrency)
    finally:
        await judge.endpoint.close()
    return {**accuracy(verdicts, folder.repeats), "judge": said}
