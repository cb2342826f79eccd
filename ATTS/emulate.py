"""Emulate a draft and a target server until interrupted.

python -m ATTS.emulate --recording run.jsonl.gz --small_model_port 40000 --eval_model_port 40001
"""

import asyncio
from contextlib import AsyncExitStack

from ATTS.problem import Problem
from ATTS.runs import cli
from ATTS.serving.emulator import Server
from ATTS.serving.emulator.pair import EmulatorSettings, pair


async def serve(settings: EmulatorSettings) -> str:
    async with AsyncExitStack() as stack:
        for served in pair(settings):
            try:
                server = await stack.enter_async_context(Server(served))
            except OSError as error:
                raise Problem(f"the emulated {served.role} can't listen on port {served.port}: {error}") from None
            print(f"{served.role}: {served.name} on {server.url}", flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "stopped"
    raise AssertionError


if __name__ == "__main__":
    cli.run(EmulatorSettings, __doc__, serve)
