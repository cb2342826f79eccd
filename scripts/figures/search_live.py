"""A search that makes runs on real servers, and whether its choice was right (docs/SEARCH.md).

python scripts/figures/search_live.py --draft http://127.0.0.1:40000 --target http://127.0.0.1:40001 \
    --array first_chunks.npy --out results/search_demo

The demo pair: the draft alone, the target alone and ATTS at the first of ``--rates`` are run and searched with
``--run``, which runs the other rates by successive halving. Beside it every rate is really run on all questions, in a
folder of its own, so that the search's choice can be compared with all that it could have chosen. Goes on with what is
there.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ATTS.analysis import intervals
from ATTS.analysis.tables import markdown, within
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.tuning import replay, report
from ATTS.tuning.search import Environment, SearchSettings, search

DATA = {"dataset_name": "demo", "small_model_max_tokens": 24, "quiet": True}


async def runs(args: argparse.Namespace) -> list[Path]:
    """Really runs everything, all at once: the draft, the target, and each rate."""
    size = {"max_problems": args.problems, "repeats": args.repeats, "turns": args.turns}
    some = {**DATA, **size, "small_model_concurrency": args.concurrency}
    pair = {"small_model_url": args.draft, "eval_model_url": args.target, "eval_model_name": "demo-target",
            "small_model_name": "demo-draft", "evalator_max_tokens": 24, "eval_model_concurrency": args.concurrency,
            "use_chat_template": True, "ppl_array_path": args.array}  # fmt: skip
    alone = {"draft": args.draft, "target": args.target}
    jobs = [
        evaluate_alone(
            make(
                BaselineSettings,
                **some,
                small_model_name=f"demo-{role}",
                small_model_url=url,
                output_dir=args.out / role,
            )
        )
        for role, url in alone.items()
    ]
    for number, rate in enumerate(args.rates):
        folder = args.out / ("full" if number else "") / f"atts_rate{rate:g}"
        given = make(AsyncSettings, **some, **pair, rejection_rate=rate, output_dir=folder)
        jobs.append(evaluate_async(given, per_question=False))
    return list(await asyncio.gather(*jobs))


def compared(settings: SearchSettings, folders: Sequence[Path]) -> str:
    """Of each folder the best setting within the budget on the questions searched on, and what it is on the others."""
    found = [replay.read(path, *settings.truth.given) for path in folders]
    environment = Environment(found, settings)
    rows: list[tuple[Any, ...]] = []
    for run in found:
        trials = [environment.tried(s) for s in environment.space.settings if s.run == run.name]
        chosen = report.best(trials, settings.budget)
        if chosen is None:
            rows.append((run.name, "nothing within the budget", "-", "-", "-"))
            continue
        (row,) = environment.reported([chosen])
        rate, low, high = row.accuracy
        both = sorted([*environment.searched, *environment.held_out])
        score, cost = environment.on(chosen.setting, both)
        every = intervals.of_questions(score.right)
        rows.append(
            (
                str(chosen.setting),
                f"{100 * chosen.score:.1f} %",
                within(rate, (low, high)),
                within(every.rate, (every.low, every.high)),
                f"{1e6 * cost:,.0f}",
            )
        )
    columns = (
        "the best setting of each run",
        "searched",
        "held out (95 %)",
        "all (95 %)",
        "price of a million questions",
    )
    return markdown(columns, rows)


async def measure(args: argparse.Namespace) -> str:
    """The search's own output, and the table."""
    done = await runs(args)
    given = [path for path in done if path.parent.name != "full"]
    settings = make(
        SearchSettings, runs=tuple(given), rates=tuple(args.rates[1:]), run=True, unit="price",
        prices=tuple(args.prices),
        budget=args.budget, archive=args.out / "trials.jsonl", picture=args.out / "front.png", trials=10**6,
        searcher="grid",
    )  # fmt: skip
    text = await search(settings)
    return f"{text}\n\n{await asyncio.to_thread(compared, settings, done)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draft", required=True, help="URL")
    parser.add_argument("--target", required=True, help="URL")
    parser.add_argument("--array", type=Path, required=True, help="calibration array of first chunks")
    parser.add_argument("--out", type=Path, default=Path("results/search_demo"))
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--concurrency", type=int, default=64, help="requests in flight of each run")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.4, 0.1, 0.2, 0.6, 0.8])
    parser.add_argument("--prices", type=float, nargs=2, default=[0.2, 1.0])
    parser.add_argument("--budget", type=float, default=0.0003)
    args = parser.parse_args()
    print(asyncio.run(measure(args)))


if __name__ == "__main__":
    main()
