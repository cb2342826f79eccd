"""Emulated models that add, for tests of whole runs: some of the draft's chunks are wrong, and score worse.

The draft errs at questions whose last digit is below 4, in its first chunk; the target mends that if it writes behind
it, and never errs by itself.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make as with_flags
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings


def data(path: Path, numbers: Sequence[int]) -> Path:
    """A data set of sums."""
    lines = [json.dumps({"problem": f"Add 1000 and {i}.", "answer": str(1000 + i)}) for i in numbers]
    path.write_text("\n".join(lines) + "\n")
    return path


def _asked(ask: Ask) -> tuple[int, str]:
    """The question's number, and what stands behind it."""
    question, _, behind = ask.text.rpartition("<|assistant|>")
    found = re.findall(r"Add 1000 and (\d+)\.", question)
    return int(found[-1]), behind


def served(role: str) -> Served:
    errs = role == "draft"

    def write(ask: Ask) -> Written:
        number, behind = _asked(ask)
        if "step" not in behind and errs:
            return Written("bad step. " if number % 10 < 4 else "good step. ", "length")
        if "bad" in behind and not errs and "mended" not in behind:
            return Written("mended step. ", "length")
        wrong = "bad" in behind and "mended" not in behind
        return Written(rf"so \boxed{{{1000 + number + wrong}}}", "stop")

    def score(ask: Ask, start: int) -> list[float | None]:
        number, behind = _asked(ask)
        return [-0.1 - 0.5 * ("bad" in behind) - number / 10_000] * (len(ask.ids) - start)

    return Served(role=role, name=role, content=Scripted(write, score))


def flags(one: Server, two: Server, dataset: Path, folder: Path) -> dict[str, Any]:
    return {
        "small_model_name": "draft",
        "eval_model_name": "target",
        "small_model_url": one.url,
        "eval_model_url": two.url,
        "dataset_name": str(dataset),
        "calibration_split": 0.25,
        "use_chat_template": True,
        "ppl_array_path": folder / "array.npy",
    }


async def runs(one: Server, two: Server, dataset: Path, folder: Path, rates: Sequence[float]) -> dict[str, Path]:
    """Finished folders of the target, the draft, and ATTS at ``rates``, calibrated on a quarter of the questions."""
    common = flags(one, two, dataset, folder)
    await calibrate(with_flags(ConformalSettings, **common, sample_size=2), per_question=False)
    made = {}
    for role, server in (("target", two), ("draft", one)):
        alone = {"dataset_name": str(dataset), "calibration_split": 0.25, "repeats": 2, "turns": 4}
        alone |= {"small_model_name": role, "small_model_url": server.url, "output_dir": folder / role}
        made[role] = await evaluate_alone(with_flags(BaselineSettings, **alone))
    for rate in rates:
        more = {"rejection_rate": rate, "repeats": 2, "output_dir": folder / f"atts_{rate:g}"}
        made[f"atts_{rate:g}"] = await evaluate_async(with_flags(AsyncSettings, **common, **more), per_question=False)
    return made


def make(folder: Path, count: int, rates: Sequence[float]) -> Path:
    """The same in one go, of ``count`` questions."""

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await runs(one, two, data(folder / "sums.jsonl", range(count)), folder, rates)

    asyncio.run(main())
    return folder
