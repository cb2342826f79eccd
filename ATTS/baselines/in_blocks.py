"""Runs of the same questions on the same servers, block by block.

A block is a part of the questions. Every run does it, forwards in one block and in reverse order in the next, so that
a machine that slows down or warms up favours none. A block that was interrupted is done again, so its clock is whole.
"""

import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.baselines.method_settings import BlockSettings
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.runs import questions
from ATTS.runs.calibrate import calibrate
from ATTS.runs.settings import ConformalSettings
from ATTS.store import atomic, blocks, provenance
from ATTS.store.blocks import CALIBRATION, BlockLog
from ATTS.store.result_folder import SUMMARY

WHERE = ("small_model_url", "eval_model_url", "small_model_port", "eval_model_port", "force")


@dataclass(frozen=True)
class Block:
    """``last``: how many questions are done with it; ``indices``: the numbers of its samples."""

    number: int
    last: int
    indices: Collection[int]


async def run_in_blocks(
    s: BlockSettings,
    log: BlockLog,
    order: Callable[[int], Sequence[str]],
    run: Callable[[str, Block], Awaitable[Path]],
) -> None:
    """Every name of ``order``, which tells the runs of a block, in every block in which it hasn't run. ``run`` does the
    questions up to the block's last, of which all before the block are done. Raises UserError."""
    asked = questions.to_evaluate(s)
    size = -(-len(asked) // s.blocks)
    for number in range(s.blocks):
        own = asked[number * size : (number + 1) * size]
        indices = {question.index * s.repeats + repeat for question in own for repeat in range(s.repeats)}
        block = Block(number, number * size + len(own), indices)
        for name in order(number):
            if not own or log.has(name, number):
                continue
            say(f"== block {number + 1} of {s.blocks}: {name}")
            for index in indices:  # of an interrupted block
                (s.output_dir / name / f"problem_{index:04d}.json").unlink(missing_ok=True)
            folder = await run(name, block)
            summary = json.loads((folder / SUMMARY).read_text())
            log.add(name, number, summary["wall_seconds"], summary["samples_in_wall_seconds"])


async def calibrate_once(s: BlockSettings, log: BlockLog, name: str, **more: Any) -> None:
    """The array of a run, on questions of their own where the data set has some; its time stands in the log."""
    asked, _ = s.calibrated
    started = time.perf_counter()
    await calibrate(settings_of(ConformalSettings, s, **{"max_problems": asked, **more}), per_question=False)
    if not log.has(CALIBRATION + name, 0):
        log.add(CALIBRATION + name, 0, time.perf_counter() - started, asked * s.sample_size)


def settings_of(kind: Callable[..., Any], s: BlockSettings, **more: Any) -> Any:
    """The settings of one run: those of all wherever it has them."""
    shared = {
        **dataclasses.asdict(s),
        "small_model_temperature": s.temperature,
        "eval_model_temperature": s.temperature,
        "max_concurrent": s.small_model_concurrency,
        "use_chat_template": True,
        "step_max_tokens": min(512, s.token_budget),
    } | more
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in shared.items() if name in known})


def alone(s: BlockSettings, of_target: bool) -> dict[str, Any]:
    """What a run of one model has of its own: one chunk as long as a sample may be."""
    return {
        "small_model_max_tokens": s.token_budget,
        "turns": 1,
        "token_budget": s.token_budget,
        "small_model_name": s.eval_model_name if of_target else s.small_model_name,
        "small_model_url": s.target_url if of_target else s.draft_url,
        "small_model_concurrency": s.eval_model_concurrency if of_target else s.small_model_concurrency,
    }


def open_log(s: BlockSettings, file: str, free: Sequence[str]) -> BlockLog:
    """Of the folder, whose ``file`` holds the settings: other ones, but for those in ``free``, need another folder.
    Raises UserError."""
    s.output_dir.mkdir(parents=True, exist_ok=True)
    path = s.output_dir / file
    told = json.loads(json.dumps(dataclasses.asdict(s), default=str))
    for name in (*free, *WHERE):
        told.pop(name)
    if path.is_file():
        made = json.loads(path.read_text())
        changed = provenance.differences(made, told)
        if changed:
            raise UserError(
                f"{s.output_dir} holds another comparison:\n  " + "\n  ".join(changed) + "\nchoose another --output_dir"
            )
    atomic.write(path, json.dumps(told, indent=1).encode() + b"\n")
    return BlockLog(s.output_dir / blocks.FILE)
