"""What the unscored first token of a chunk is worth: ``bash scripts/measure_first_token.sh`` (starts the servers).

Every chunk of the draft is scored twice from the same log-probabilities: all of its tokens, and all
but the first as published. Each way has its own calibration scores, those of the first chunks.
"""

import argparse
import asyncio
import json

import numpy as np

from ATTS.flags import make
from ATTS.method.chain import Chain
from ATTS.method.conformal import CalibrationSet
from ATTS.method.score import perplexity
from ATTS.method.types import Stage
from ATTS.runs import models
from ATTS.runs.settings import AsyncSettings
from ATTS.serving.queue import drain
from ATTS.serving.server_info import new_session
from ATTS.tasks import datasets
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

IN_FLIGHT = 16


async def score_twice(settings: AsyncSettings, turns: int) -> list[tuple[int, float, float]]:
    """(turn, perplexity, perplexity without the first token) of the draft's chunks, its own chain over."""
    found: list[tuple[int, float, float]] = []
    async with new_session(settings.requests.request_timeout) as session:
        draft = await models.draft(session, settings.draft, settings.requests, IN_FLIGHT)
        target = await models.target(session, settings.target, settings.requests, IN_FLIGHT, True)

        async def work(question: Question) -> None:
            d, t = draft.reader(question), target.reader(question)
            chain = Chain(find_answer, d, t)
            for turn in range(turns):
                written = await chain.extend(d, turn, Stage.DRAFT)
                if chain.answer is not None or written.ended or t.newest < 2:
                    return
                ids = [*t.scoring_prompt, *t.ids]
                logprobs, _ = await target.model.logprobs(ids, len(ids) - t.newest)
                found.append((turn, perplexity(logprobs, t.newest), perplexity(logprobs[1:], t.newest - 1)))

        questions = datasets.load("demo", max_problems=settings.data.max_problems, seed=settings.data.seed)
        await drain(questions, work, IN_FLIGHT)
    return found


def figures(scores: list[tuple[int, float, float]], rate: float) -> dict[str, float]:
    whole, rest = np.array([s[1] for s in scores]), np.array([s[2] for s in scores])
    first = np.array([s[0] == 0 for s in scores])
    by_whole, by_rest = CalibrationSet(whole[first], rate), CalibrationSet(rest[first], rate)
    decisions = np.array([(by_whole(a).rejected, by_rest(b).rejected) for a, b in zip(whole, rest, strict=True)])
    return {
        "chunks": len(scores),
        "mean shift of log perplexity": float(np.mean(np.log(rest) - np.log(whole))),
        "mean absolute shift of log perplexity": float(np.mean(np.abs(np.log(rest) - np.log(whole)))),
        "share of decisions that differ": float(np.mean(decisions[:, 0] != decisions[:, 1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small_model_port", type=int, required=True)
    parser.add_argument("--eval_model_port", type=int, required=True)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=24)
    args = parser.parse_args()
    settings = make(
        AsyncSettings,
        small_model_name="demo-draft",
        eval_model_name="demo-target",
        dataset_name="demo",
        small_model_port=args.small_model_port,
        eval_model_port=args.eval_model_port,
        small_model_max_tokens=args.chunk,
        max_problems=args.problems,
    )
    found = figures(asyncio.run(score_twice(settings, turns=20)), settings.scoring.rejection_rate)
    print("| | |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.4g} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
