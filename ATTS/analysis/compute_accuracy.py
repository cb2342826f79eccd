"""Who judges: the flags for it, and a folder graded accordingly."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from ATTS.analysis import folders, metrics, tables, voting
from ATTS.analysis.accuracy import Graded, accuracy
from ATTS.analysis.folders import Folder, Truth
from ATTS.analysis.grading import JudgeName, by_llm, by_math
from ATTS.analysis.voting import ConfidenceName
from ATTS.errors import UserError
from ATTS.flags import Part, Positive, settle
from ATTS.store import calibration
from ATTS.store.records import Record
from ATTS.store.replies import ReplyCache
from ATTS.store.summary import GradedAgain, Judged
from ATTS.tasks.judge import LLMJudge
from ATTS.tasks.llm import Endpoint, Extractor


class JudgeSettings(Part):
    """Flags of commands that grade."""

    judge: JudgeName = "math"
    """Who says whether an answer is right: algebra (math), an OpenAI-compatible model (llm), or the model only
    where algebra says different or undecided (both). The model: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL."""

    concurrency: Positive[int] = 8
    """Most requests in flight at the model."""

    llm_cache: Path = Path("evaluation/llm_replies.jsonl")
    """The model's replies by content, so that the same command asks nothing twice."""


def extractor(settings: JudgeSettings) -> Extractor:
    """A model that reads answers, its replies kept where the judge's are. Raises UserError."""
    return Extractor(Endpoint("--extract_mode llm", cache=ReplyCache(settings.llm_cache)))


@asynccontextmanager
async def judge(settings: JudgeSettings) -> AsyncIterator[LLMJudge | None]:
    """The model that judges, None if none does: made before any work is done. Raises UserError."""
    if settings.judge == "math":
        yield None
        return
    async with Endpoint(f"--judge {settings.judge}", cache=ReplyCache(settings.llm_cache)) as endpoint:
        yield LLMJudge(endpoint)


async def graded(folder: Folder, settings: JudgeSettings, judge: LLMJudge | None) -> GradedAgain:
    """The folder's accuracy; with a model as judge its cost and disagreements under ``judge``. Raises UserError,
    also if nothing that the model said can be read."""
    verdicts, said = await judged(folder, settings, judge)
    result = cast(GradedAgain, accuracy(verdicts, folder.repeats))
    if said:
        result["judge"] = said
    return result


async def judged(folder: Folder, settings: JudgeSettings, judge: LLMJudge | None) -> tuple[list[Graded], Judged | None]:
    """Every sample graded, and what a model as judge said, None without one. Raises UserError likewise."""
    verdicts = await asyncio.to_thread(by_math, folder.samples, folder.references, folder.repeats)
    if judge is None:
        return verdicts, None
    everywhere = settings.judge == "llm"
    verdicts, said = await by_llm(verdicts, folder.problems, judge, everywhere, settings.concurrency)
    judge.endpoint.check()
    return verdicts, said


class AccuracySettings(JudgeSettings):
    """Flags of compute_accuracy."""

    output_dir: Path
    """The result folder."""

    truth: Truth = Truth()

    ppl_array_path: Path | None = None
    """Calibration array that the run is said to have used: every percentile is computed again from it."""

    votes: tuple[str, ...] = ()
    """Compare votes of all samples of a question: majority, weighted (by confidence), best_of_n (the most confident
    sample), with commas or blanks between them."""

    vote_confidence: ConfidenceName | None = None
    """The confidence to vote by: that of the draft or the target, asked in the run (--confidence), or the perplexity of
    a chain's worst chunk (ppl: a control, not a recommendation); default: the target's if the samples hold it, else
    the draft's."""

    per_question: bool = False
    """Print a row for every question, too."""

    json: bool = False
    """Print JSON, with a row for every question."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, votes=tuple(voting.names(self.votes)))


async def grade(settings: AccuracySettings) -> str:
    """The accuracy of a folder as text or JSON. Raises UserError."""
    async with judge(settings) as chosen:
        folder = folders.load(settings.output_dir, *settings.truth.given)
        result: dict[str, Any] = {}
        if settings.ppl_array_path:
            result["percentiles_reproduced"] = belongs(settings.ppl_array_path, folder.samples, folder.repeats)
        result |= {"samples": len(folder.samples), "missing": folder.missing}
        verdicts, said = await judged(folder, settings, chosen)
        result |= accuracy(verdicts, folder.repeats) | ({"judge": said} if said else {})
        if settings.votes:
            result["voting"] = voting.report(verdicts, folder.samples, settings.votes, settings.vote_confidence)
    result |= metrics.work(folder.samples)
    if settings.json:
        return json.dumps(result, indent=1)
    text = tables.accuracy(result, settings.per_question)
    return f"{text}\n\n{voting.table(result['voting'])}" if settings.votes else text


def belongs(path: Path, samples: Sequence[Record], repeats: int) -> int:
    """Number of percentiles that the array gives again, all of them. Raises UserError if it gives others."""
    again = calibration.recompute(calibration.load(path, per_question=None), samples, repeats)
    if not again.recorded:
        raise UserError(f"these samples record no percentile, so {path} can't be checked against them")
    if again.difference is not None:
        raise UserError(
            f"{path} is not the array that these samples were decided with: it gives {again.equal} of"
            f" {again.recorded} recorded percentiles; {again.difference}"
        )
    return again.recorded
