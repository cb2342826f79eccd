"""SGLang's launch command with an emulated server behind it: no weights, little memory, there at once."""

import asyncio
import sys
from itertools import pairwise

from chances import chance

from ATTS.emulator import Ask, Scripted, Served, Server, Timing, Written


def write(ask: Ask) -> Written:
    """A step; one in eight answers."""
    drawn = chance(ask.role, ask.text)
    if drawn.random() < 0.125:
        return Written(rf" so \boxed{{{drawn.randrange(5)}}}", "stop")
    return Written(f" {drawn.randrange(10**6)} and" * 9)


def score(ask: Ask, start: int) -> list[float | None]:
    """A level for each text."""
    return [-chance("score", ask.text).random()] * (len(ask.ids) - start)


async def main() -> None:
    """Serves until it is stopped."""
    flags = dict(pairwise(sys.argv[1:]))
    name, path, port = (flags[f"--{flag}"] for flag in ("served-model-name", "model-path", "port"))
    content = Scripted(write, score, lambda _: {"1": 1.0}, lambda _, own: own)
    role = "draft" if name == "demo-draft" else "target"
    served = Served(role=role, name=name, tokenizer=path, port=int(port), content=content, timing=Timing(speed=0))
    async with Server(served):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
