"""Runs that replay can't answer for, on the servers of a finished run: by successive halving over its questions."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import flat, make, of_folder
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store import result_folder
from ATTS.tuning.replay import Run
from ATTS.tuning.searchers import SHARES


async def at_rates(
    base: Run, rates: Sequence[float], searched: int, questions: int, worth: Callable[[Path, int], tuple[float, float]]
) -> list[Path]:
    """Runs the settings of ``base`` at each rate on the first questions, the better half by ``worth`` on twice as many,
    and so on up to the ``searched`` first ones; the last that stays on all ``questions``. Returns its folder, as a
    list. ``worth`` is told on how many questions. Each folder lies beside that of ``base`` and is gone on with in every
    round. Raises UserError."""
    about = result_folder.about_of(base.path)
    if about.get("command") not in ("ref_async", "ref_async_per_question"):
        raise UserError(f"{base.path} is no run of ref_async, so there is no command to run at other rates")
    settings = of_folder(AsyncSettings, base.path)
    per_question = about["command"] == "ref_async_per_question"

    async def run(rate: float, count: int) -> Path:
        folder = base.path.parent / f"{base.path.name}_rate{rate:g}"
        given = flat(settings) | {"rejection_rate": rate, "max_problems": count, "output_dir": folder}
        return await evaluate_async(make(AsyncSettings, **given), per_question)

    staying = list(rates)
    for share in SHARES:
        count = max(1, round(share * searched))
        say(f"rates {', '.join(f'{rate:g}' for rate in staying)} on {count} questions")
        found = {rate: await asyncio.to_thread(worth, await run(rate, count), count) for rate in staying}
        say(
            "; ".join(
                f"rate {rate:g}: {100 * value:.1f} at a cost of {-less:.4g}" for rate, (value, less) in found.items()
            )
        )
        staying.sort(key=lambda rate: found[rate], reverse=True)
        staying = staying[: max(1, len(staying) // 2)]
    return [await run(rate, questions) for rate in staying[:1]]
