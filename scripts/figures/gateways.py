"""Runs through a gateway (smg): is anything changed, do chains stay in one place, and what does a killed server cost?

    python -m venv /tmp/smg && /tmp/smg/bin/pip install -r third_party/gateway/requirements.txt
    GATEWAY_PYTHON=/tmp/smg/bin/python python scripts/figures/gateways.py

Two emulated servers a side, each a process: a run at their URLs, the same run through two gateways, and once more with
one target server killed (-9) in the middle and left dead. Texts and scores follow from the prompt, so that all three
must be equal in every text, score and decision.
"""

import argparse
import asyncio
import signal
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from emulated import told
from replicas import ROLES, Kept, flags, servers, summary
from show import show
from started_gateway import Gateway, page

from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings


def chains(found: list[Kept]) -> list[Counter[str]]:
    """Requests by chain, of each server."""
    return [Counter(page(f"{one.url}/emulated/chains")) for one in found]


async def run(settings: AsyncSettings, victim: Kept | None = None) -> None:
    """``victim`` is killed when a third of the samples is there."""
    work = asyncio.create_task(evaluate_async(settings, per_question=False))
    place = settings.output.output_dir
    assert place is not None
    third = 16 * settings.data.max_problems // 3
    while victim is not None and not work.done():
        if len(list(place.glob("problem_*.json"))) >= third:
            victim.signal(signal.SIGKILL)
            break
        await asyncio.sleep(0.02)
    await work


def cached(folder: Path) -> dict[str, float]:
    """Share of the prompt tokens by side, over all servers."""
    shares = {}
    for role in ROLES:
        own = [one for name, one in summary(folder)["servers"].items() if name.partition(" ")[0] == role]
        prompt = sum(one["prompt_tokens"] for one in own)
        shares[role] = sum(one["prompt_tokens"] * one["cached_share"] for one in own) / prompt
    return shares


def measure(questions: int, through: bool, kill: bool) -> dict[str, Any]:
    """One run: what it comes to, what was cached, and how many chains had one server only."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found, _ = stack.enter_context(servers(2))
        settings = flags(found, folder, questions, max_problems=questions, samples_in_flight=32)
        if through:
            urls = {
                role: stack.enter_context(Gateway([one.url for one in found[role]], folder / f"{role}.log")).url
                for role in ROLES
            }
            gateways = {"small_model_url": urls["draft"], "eval_model_url": urls["target"]}
            settings = flags(found, folder, questions, max_problems=questions, samples_in_flight=32, **gateways)
        asyncio.run(run(settings, found["target"][0] if kill else None))
        of_run = summary(folder / "run")
        placed = {role: chains(found[role]) for role in ROLES} if not kill else {}
        return {
            "told": told(folder / "run"),
            "samples": of_run["samples"],
            "owed": of_run["owed"],
            "cached": cached(folder / "run"),
            "seconds": of_run["wall_seconds"],
            "together": {role: len(set(one) ^ set(two)) for role, (one, two) in placed.items()},
            "chains": {role: len(set(one) | set(two)) for role, (one, two) in placed.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=24, help="16 samples each")
    args = parser.parse_args()
    rows, figures, right = [], {}, None
    names = {"two URLs a side": (False, False), "gateways": (True, False), "gateways, a server killed": (True, True)}
    for name, how in names.items():
        found = measure(args.questions, *how)
        all_told = found.pop("told")
        right = right or all_told
        found["different"] = sum(one != other for one, other in zip(right, all_told, strict=True))
        figures[name] = found
        row: list[object] = [name, found["samples"], found["owed"], found["different"]]
        row += [f"{100 * found['cached'][role]:.1f} %" for role in ROLES]
        row += [f"{found['together'][role]} of {found['chains'][role]}" if found["chains"] else "-" for role in ROLES]
        rows.append([*row, f"{found['seconds']:.0f}"])
    columns = ["run", "samples", "failed", "different", "cached, draft", "cached, target"]
    columns += ["chains at one draft server", "chains at one target server", "seconds"]
    show(columns, rows, figures)


if __name__ == "__main__":
    main()
