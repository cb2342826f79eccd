"""Runs of the same questions on the same servers, block by block.

A block is a part of the questions. Every run does it, forwards in one block and in reverse order in the next, so that
a machine that slows down or warms up favours none. A block that was interrupted goes on where it was; the clock of its
rest is that of the samples in it, so a run that was interrupted has no time of its own.
"""

import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.baselines.method_settings import BlockSettings
from ATTS.calibration.calibrate import calibrate
from ATTS.console import say
from ATTS.errors import UserError
from ATTS.flags import Settings, flags, flat, make
from ATTS.runs.questions import to_evaluate
from ATTS.runs.settings import ConformalSettings
from ATTS.store import atomic, blocks, provenance
from ATTS.store.blocks import CALIBRATION, BlockLog
from ATTS.store.result_folder import SUMMARY, parsed

WHERE = ("small_model_url", "eval_model_url", "small_model_port", "eval_model_port", "force", "quiet")


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
    questions = to_evaluate(s.data)
    size = -(-len(questions) // s.plan.blocks)
    for number in range(s.plan.blocks):
        own = questions[number * size : (number + 1) * size]
        indices = {question.index * s.plan.repeats + repeat for question in own for repeat in range(s.plan.repeats)}
        block = Block(number, number * size + len(own), indices)
        for name in order(number):
            if not own or log.has(name, number):
                continue
            say(f"== block {number + 1} of {s.plan.blocks}: {name}")
            folder = await run(name, block)
            summary = json.loads((folder / SUMMARY).read_text())
            log.add(name, number, summary["wall_seconds"], summary["samples_in_wall_seconds"])


async def calibrate_once(s: BlockSettings, log: BlockLog, name: str, **more: Any) -> None:
    """The array of a run, on questions of their own where the data set has some; its time stands in the log."""
    count, _ = s.calibrated
    started = time.perf_counter()
    await calibrate(settings_of(ConformalSettings, s, **{"max_problems": count, **more}), per_question=False)
    if not log.has(CALIBRATION + name, 0):
        log.add(CALIBRATION + name, 0, time.perf_counter() - started, count * s.plan.sample_size)


def settings_of(kind: type[Settings], s: BlockSettings, **more: Any) -> Settings:
    """The settings of one run: those of all wherever it has them."""
    shared = {
        **flat(s),
        "small_model_temperature": s.plan.temperature,
        "eval_model_temperature": s.plan.temperature,
        "max_concurrent": s.limits.draft,
        "use_chat_template": True,
        "step_max_tokens": min(512, s.plan.token_budget),
    } | more
    known = {flag.name for flag in flags(kind)}
    return make(kind, **{name: value for name, value in shared.items() if name in known})


def alone(s: BlockSettings, of_target: bool) -> dict[str, Any]:
    """What a run of one model has of its own: one chunk as long as a sample may be."""
    return {
        "small_model_max_tokens": s.plan.token_budget,
        "turns": 1,
        "token_budget": s.plan.token_budget,
        "small_model_name": s.target.name if of_target else s.draft.name,
        "small_model_url": s.target.urls if of_target else s.draft.urls,
        "small_model_concurrency": s.limits.target if of_target else s.limits.draft,
    }


def open_log(s: BlockSettings, file: str, free: Sequence[str]) -> BlockLog:
    """Of the folder, whose ``file`` holds the settings: other ones, but for those in ``free``, need another folder.
    What a version without a flag made is taken to be made with its default. Raises UserError."""
    s.output.output_dir.mkdir(parents=True, exist_ok=True)
    path = s.output.output_dir / file
    wanted = json.loads(json.dumps(flat(s), default=str))
    for name in (*free, *WHERE):
        wanted.pop(name)
    if path.is_file():
        stored = parsed(path)
        if not isinstance(stored, dict):
            raise UserError(f"{path} is damaged: restore it, or choose another --output_dir")
        default = {flag.name: flag.default for flag in flags(type(s))}
        stored = json.loads(json.dumps(default, default=str)) | stored
        changed = provenance.differences(stored, wanted)
        if changed:
            raise UserError(
                f"{s.output.output_dir} holds another comparison:\n  "
                + "\n  ".join(changed)
                + "\nchoose another --output_dir"
            )
    atomic.write(path, json.dumps(wanted, indent=1).encode() + b"\n")
    return BlockLog(s.output.output_dir / blocks.FILE)
