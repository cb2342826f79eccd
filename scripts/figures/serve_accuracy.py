"""Whether the server answers as well as a run: ``bash scripts/measure_serve.sh`` (starts the demo pair's servers).

The same problems, samples and settings, once by ``ref_async`` and once asked of the server by the openai client, a
request a problem with ``n`` choices; graded alike, compared problem by problem.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openai
from show import show

from ATTS import console
from ATTS.analysis import intervals
from ATTS.analysis.tables import percent
from ATTS.api.serve import serving
from ATTS.api.settings import ServeSettings
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store.result_folder import samples
from ATTS.tasks import datasets
from ATTS.tasks.datasets import Question
from ATTS.tasks.equivalence import Grader, Verdict

Answers = list[list[str | None]]  # of each problem's samples


async def of_a_run(flags: dict[str, object], questions: Sequence[Question], repeats: int, seed: int) -> Answers:
    with tempfile.TemporaryDirectory() as folder:
        own = {"dataset_name": "demo", "max_problems": len(questions), "repeats": repeats, "seed": seed}
        settings = make(AsyncSettings, **flags, **own, output_dir=Path(folder) / "out")
        await evaluate_async(settings, per_question=False)
        found: Answers = [[] for _ in questions]
        for sample in samples(Path(folder) / "out"):
            found[sample["question_index"]].append(sample["final_answer"])
        return found


async def of_the_server(flags: dict[str, object], questions: Sequence[Question], repeats: int) -> Answers:
    async with (
        serving(make(ServeSettings, **flags, port=0)) as (url, _),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client,
    ):

        async def ask(question: Question) -> list[str | None]:
            messages = [{"role": "user", "content": question.prompt}]
            reply = await client.chat.completions.create(model="atts", messages=messages, n=repeats)  # type: ignore[arg-type]
            return [(choice.model_extra or {})["atts"]["answer"] for choice in reply.choices]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(question)) for question in questions]
        return [task.result() for task in tasks]


def right(answers: Answers, questions: Sequence[Question]) -> np.ndarray:
    """1 for each right answer, of shape (problems, samples)."""
    with Grader() as grader:
        verdicts = [
            grader.compare((question.answer, answer or "") for answer in own)
            for question, own in zip(questions, answers, strict=True)
        ]
    return np.array([[verdict is Verdict.EQUAL for verdict in own] for own in verdicts], dtype=float)


async def measure(args: argparse.Namespace) -> None:
    questions = datasets.load("demo", max_problems=args.problems, seed=args.seed)
    flags: dict[str, object] = {
        "small_model_name": "demo-draft",
        "eval_model_name": "demo-target",
        "use_chat_template": True,
        "small_model_port": args.small_model_port,
        "eval_model_port": args.eval_model_port,
        "turns": 20,
        "small_model_max_tokens": 24,
        "evalator_max_tokens": 24,
        "calibration": "online",
        "on_rejection": "resample",
        "rejection_rate": 0.2,
    }
    run = right(await of_a_run(flags, questions, args.repeats, args.seed), questions)
    served = right(await of_the_server(flags, questions, args.repeats), questions)
    rows, figures = [], {}
    for name, made in (("ref_async", run), ("serve", served)):
        found = intervals.interval(made.ravel(), np.repeat(np.arange(len(made)), args.repeats))
        rows.append([name, f"{percent(found.rate)} ({percent(found.low)} - {percent(found.high)})"])
        figures[name] = [found.rate, found.low, found.high]
    gaps = served.mean(axis=1) - run.mean(axis=1)
    low, high = intervals.difference(gaps)
    rows.append(["difference", f"{100 * gaps.mean():+.1f} points ({100 * low:+.1f} - {100 * high:+.1f})"])
    figures["difference"] = [float(gaps.mean()), low, high]
    show(["", "accuracy of a sample (95 %)"], rows, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small_model_port", type=int, required=True)
    parser.add_argument("--eval_model_port", type=int, required=True)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    try:
        asyncio.run(measure(parser.parse_args()))
    except UserError as problem:
        sys.exit(console.fail(problem))


if __name__ == "__main__":
    main()
