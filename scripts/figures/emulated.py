"""An emulated pair in a process of its own, whose texts and scores follow from the prompt, and commands in forks.

A fork has everything imported, so that hundreds of runs can be killed in minutes; what runs in it is the commands' own
code behind its flags, with the same handling of signals (ATTS.console).
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from ATTS import console
from ATTS.baselines.prompts import SPEC_REASON_SCORE
from ATTS.emulator import Ask, Scripted, Served, Server, Timing, Written
from ATTS.emulator.faults import Fault
from ATTS.flags import Part
from ATTS.store.result_folder import samples

# What commands import when they first need it: seconds of each, which a fork would spend again.
for late in ("matplotlib.figure", "openai", "scipy.stats", "transformers.utils.chat_template_utils"):
    import_module(late)

ONCE = get_context("fork")
Writer = Callable[[Ask], Written]
PAIR = {"small_model_name": "d", "eval_model_name": "t"}


def chance(*of: object) -> random.Random:
    """What follows from the same things is the same."""
    return random.Random(sha256(repr(of).encode()).hexdigest())


def write(ask: Ask) -> Written:
    """Some words; one chunk in eight answers."""
    dice = chance(ask.role, ask.text)
    words = " ".join(str(dice.randrange(10**6)) for _ in range(dice.randint(2, 8)))
    return Written(f" {words}" + (r" so \boxed{7}" if dice.random() < 0.125 else ""), "length")


def write_paragraphs(ask: Ask) -> Written:
    """As :func:`write`, in paragraphs, some of which doubt; and a digit where a grade is asked for."""
    if ask.text.endswith(SPEC_REASON_SCORE):
        return Written(str(chance(ask.text).randrange(10)), "length")
    written = write(ask)
    doubt = chance("doubt", ask.role, ask.text).choice(("", "", "Wait, ", "Let me check. "))
    return Written(f"{doubt}{written.text}\n\n", "length")


def write_number(ask: Ask) -> Written:
    """An answer that is read off a text."""
    return Written(str(chance(ask.text).randrange(10)), "stop")


def grades(ask: Ask) -> dict[str, float]:
    """The digit that is written."""
    return {str(chance(ask.text).randrange(10)): 0.9}


def scores(ask: Ask, start: int) -> list[float | None]:
    """Of each token asked for."""
    dice = chance(ask.text)
    return [-2 * dice.random() for _ in ask.ids[start:]]


def _serve(
    told: Connection, count: "Synchronized[int]", faults: tuple[str, ...], seconds: float, writer: Writer
) -> None:
    def counted(ask: Ask) -> Written:
        count.value += 1
        return writer(ask)

    def scored(ask: Ask, start: int) -> list[float | None]:
        count.value += 1
        return scores(ask, start)

    async def main() -> None:
        content, timing = Scripted(counted, scored, grades), Timing(step_seconds=seconds, speed=1.0 if seconds else 0.0)
        plans = tuple(map(Fault.parse, faults))
        pair = [
            Served(role=role, name=role[0], content=content, timing=timing, faults=plans, seed=number)
            for number, role in enumerate(("draft", "target"))
        ]
        async with Server(pair[0]) as draft, Server(pair[1]) as target:
            told.send((draft.url, target.url))
            await asyncio.Event().wait()

    asyncio.run(main())


class Count:
    """How many requests the servers had, and their process."""

    def __init__(self, shared: "Synchronized[int]", process: Any) -> None:
        self._shared, self._process = shared, process

    @property
    def value(self) -> int:
        return self._shared.value

    def signal(self, number: int) -> None:
        """Sends the servers' process a signal."""
        os.kill(self._process.pid, number)


@contextmanager
def pair(*faults: str, seconds: float = 0.0, writer: Writer = write) -> Iterator[tuple[dict[str, Any], Count]]:
    """Flags of two servers that fail by ``faults``, take ``seconds`` a token and say what ``writer`` says, and how many
    requests they had."""
    count = ONCE.Value("q", 0)
    mine, its = ONCE.Pipe()
    process = ONCE.Process(target=_serve, args=(its, count, faults, seconds, writer), daemon=True)
    process.start()
    try:
        draft, target = mine.recv()
        yield {**PAIR, "small_model_url": draft, "eval_model_url": target}, Count(count, process)
    finally:
        process.kill()
        process.join()


def data_set(folder: Path, questions: int) -> str:
    """A file of so many questions."""
    path = folder / "questions.jsonl"
    rows = ({"problem": f"question <{i}>", "answer": "7"} for i in range(questions))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def forked(settings: Part, command: Callable[[Any], Any], log: Path) -> int:
    """The number of a new process that runs a command with these settings, as its front door does."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        vars(console)["parse"] = lambda *_: settings
        console.run(type(settings), "", command)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        print(f"TRACEBACK {error!r}", file=sys.stderr)
        status = 99
    sys.stderr.flush()
    os._exit(status)


def waited(number: int) -> int:
    """The exit status of a process; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def told(folder: Path) -> list[Any]:
    """What a run came to, without clocks and costs."""
    kept = ("turn", "model", "output", "ppl", "percentile", "rejected")
    return [
        (s["problem_index"], s["exit_status"], [{name: e.get(name) for name in kept} for e in s["full_history"]])
        for s in samples(folder)
    ]
