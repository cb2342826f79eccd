"""A draft that answers some questions at once, behind an emulated pair, and arrays made with it."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.runs.settings import ConformalSettings

PAIR = {"small_model_name": "d", "eval_model_name": "t"}
QUESTIONS = 5
BOX = r"\boxed{1}"


class Says:
    """A draft that answers question 0 at once, question 1 half the time, and ends question 2 half the time
    without an answer; or that does the same everywhere: boxes in its ``thought``, ``always`` or ``never`` an
    answer. ``scored``: texts whose last chunk was scored."""

    def __init__(self, thought: bool = False, always: bool = False, never: bool = False) -> None:
        self.random, self.thought, self.always, self.never = random.Random(0), thought, always, never
        self.scored: list[str] = []
        self.drafts = 0

    def write(self, ask: Ask) -> Written:
        number = int(ask.text.split("question <")[1][0])
        self.drafts += ask.role == "draft"
        text = f" step {self.random.randrange(10**6)}"
        if self.thought:
            return Written(f"<think> {BOX} {text}", "length")
        if self.never:
            return Written(text, "length")
        if self.always or number == 0 or (number == 1 and self.random.random() < 0.5):
            return Written(f"{text} so {BOX}", "stop")
        if number == 2 and self.random.random() < 0.5:
            return Written(f"{text} and that is all", "stop")
        return Written(text * self.random.randint(1, 3), "length")

    def score(self, ask: Ask, start: int) -> list[float | None]:
        self.scored.append(ask.text)
        return [-random.Random(ask.text).random()] * (len(ask.ids) - start)

    def best(self, ask: Ask, own: Sequence[float | None]) -> list[float | None]:
        """All but the last two tokens are the target's own choices, and those where they are likelier than -0.01."""
        return [*own[:-2], *(max(-0.01, value) for value in own[-2:] if value is not None)]


def with_servers(says: Says, *uses: Callable[[dict[str, Any]], Awaitable[Any]], **flags: Any) -> Any:
    """The result of the last of ``uses``, each given the flags of an emulated pair."""

    async def run() -> Any:
        content, result = Scripted(says.write, says.score, finder=says.best), None
        draft, target = (Server(Served(role=role, name=role[0], content=content)) for role in ("draft", "target"))
        async with draft, target:
            for use in uses:
                result = await use({**PAIR, "small_model_url": draft.url, "eval_model_url": target.url, **flags})
        return result

    return asyncio.run(run())


def asking(folder: Path, questions: int) -> dict[str, Any]:
    """A data set of so many of these questions, and where its array goes."""
    path = folder / f"{questions}.jsonl"
    rows = [{"problem": f"question <{i}>", "answer": "1", "group": "ab"[i % 2]} for i in range(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset_name": str(path), "ppl_array_path": folder / "a.npy"}


def for_turns(folder: Path, turns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flags, and those of a calibration with 80 samples: a calibration by turn needs 20 questions."""
    if turns == 1:
        return asking(folder, QUESTIONS), {"turns": 1}
    return asking(folder, 8 * QUESTIONS), {"turns": turns, "sample_size": 2}


def making(per_question: bool = False, **more: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    return lambda pair: calibrate(make(ConformalSettings, **{**pair, **more}), per_question)
