"""Measure the demo pair on fresh problems: ``bash scripts/evaluate_demo.sh`` (starts the servers).

Draft alone and target alone; then, for every chunk length, the loop with marginal calibration and
the same loop with random take-over at the rate that the first one realised, which shows what the
score is worth. Everything runs through the front doors' own code against real servers.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import solutions

from ATTS.analysis.tables import percent
from ATTS.calibration.calibrate import calibrate
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import atomic
from ATTS.store.records import Record
from ATTS.store.result_folder import SUMMARY, samples


def scored_chunks(sample: Record) -> Iterator[tuple[float, bool, bool]]:
    """(perplexity, holds a wrong step, rejected) of every scored chunk of a sample."""
    text = "".join(entry.get("output") or "" for entry in sample["full_history"])
    wrong = solutions.wrong_spans(solutions.parse(sample["question"]), text)
    start = end = 0
    for entry in sample["full_history"]:
        if entry["model"] == "eval_ppl":
            yield entry["ppl"], any(a < end and start < b for a, b in wrong), entry["rejected"]
        else:
            start, end = end, end + len(entry["output"])


def auroc(positive: Iterable[float], negative: Iterable[float]) -> float:
    """Probability that a positive scores higher than a negative, ties counting half (Mann-Whitney)."""
    high, low = np.array(sorted(positive)), np.array(sorted(negative))
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.sum() / (2 * len(high) * len(low)))


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    common = {"dataset_name": "demo", "max_problems": args.problems, "seed": args.seed, "force": False}
    pair = {
        **common,
        "small_model_name": "demo-draft",
        "eval_model_name": "demo-target",
        "small_model_port": args.small_model_port,
        "eval_model_port": args.eval_model_port,
        "use_chat_template": args.use_chat_template,
    }
    result: dict[str, Any] = {"problems": args.problems, "seed": args.seed, "use_chat_template": args.use_chat_template}
    for role, port in (("draft", args.small_model_port), ("target", args.eval_model_port)):
        alone = make(
            BaselineSettings,
            **common,
            small_model_name=f"demo-{role}",
            sglang_port=port,
            small_model_max_tokens=300,
            repeats=1,
            turns=1,
            output_dir=args.folder / role,
        )
        await evaluate_alone(alone)
        result[role] = summary(args.folder / role)["mean_accuracy"]
    result["chunks"] = [
        await chunk_length(length, pair, args, result["draft"], result["target"]) for length in args.chunks
    ]
    return result


async def chunk_length(
    length: int, pair: dict[str, Any], args: argparse.Namespace, draft: float, target: float
) -> dict[str, Any]:
    """The loop with chunks of ``length`` tokens, by score and at random."""
    array = args.folder / f"calibration_{length}.npy"
    calibration = {
        **pair,
        "max_problems": 100,
        "sample_size": 4,
        "small_model_max_tokens": length,
        "ppl_array_path": array,
    }
    await calibrate(make(ConformalSettings, **calibration), per_question=False)
    loop = {
        **pair,
        "small_model_max_tokens": length,
        "evalator_max_tokens": length,
        "ppl_array_path": array,
        "repeats": 1,
        "turns": -(-400 // length),
        "eval_model_concurrency": 16,
    }
    row: dict[str, Any] = {"chunk": length}
    rate = 0.4
    for takeover in ("score", "random"):
        folder = args.folder / f"{takeover}_{length}"
        await evaluate_async(
            make(AsyncSettings, **loop, rejection_rate=rate, takeover=takeover, output_dir=folder), per_question=False
        )
        about = summary(folder)
        rate = about["rejection_rate"]
        row[takeover] = {
            "accuracy": about["mean_accuracy"],
            "gap_closed": (about["mean_accuracy"] - draft) / (target - draft),
            "target_share": about["target_share"],
            "rejection_rate": rate,
        }
        if takeover == "score":
            chunks = list(itertools.chain.from_iterable(map(scored_chunks, samples(folder))))
            row["auroc"] = auroc((p for p, wrong, _ in chunks if wrong), (p for p, wrong, _ in chunks if not wrong))
            row["wrong_chunks"] = float(np.mean([wrong for _, wrong, _ in chunks]))
            row["wrong_chunks_handed_over"] = float(np.mean([rejected for _, wrong, rejected in chunks if wrong]))
    return row


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / SUMMARY).read_text()))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{result['problems']} problems, seed {result['seed']}: draft alone {percent(result['draft'])}, target alone"
        f" {percent(result['target'])}",
        "",
        "| chunk | AUROC | wrong chunks | of them handed over | accuracy | gap closed | by the target | rejected"
        " | random: accuracy | random: gap closed |",
        f"|{' --- |' * 10}",
    ]
    for row in result["chunks"]:
        score, control = row["score"], row["random"]
        cells = [
            f"{row['chunk']} tokens",
            f"{row['auroc']:.3f}",
            percent(row["wrong_chunks"]),
            percent(row["wrong_chunks_handed_over"]),
            percent(score["accuracy"]),
            percent(score["gap_closed"]),
            percent(score["target_share"]),
            percent(score["rejection_rate"]),
            percent(control["accuracy"]),
            percent(control["gap_closed"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where runs and results go")
    parser.add_argument("--small_model_port", type=int, default=40000)
    parser.add_argument("--eval_model_port", type=int, default=40001)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunks", type=int, nargs="+", default=[16, 24, 32])
    parser.add_argument("--use_chat_template", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    result = asyncio.run(measure(args))
    atomic.write(args.folder / "demo.json", json.dumps(result, indent=1).encode() + b"\n")
    print(table(result))


if __name__ == "__main__":
    main()
