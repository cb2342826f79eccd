"""A draft and a target server from flags."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from ATTS import demo
from ATTS.emulator import Server
from ATTS.emulator.content import Content, RandomText
from ATTS.emulator.faults import Fault
from ATTS.emulator.recorded import Recorded
from ATTS.emulator.release import RELEASES
from ATTS.emulator.server import Served
from ATTS.emulator.timing import Timing
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.store.recording import read_recording


class EmulatorSettings(Part):
    """Flags. Python code can run any number of servers: see ATTS.emulator.Server."""

    recording: Path | None = None
    """Recorded runs (.jsonl or .jsonl.gz) to play back; without one the servers say digits of random length."""

    small_model_name: str = "draft"
    """Name of the model that the draft server claims to serve."""

    eval_model_name: str = "target"
    """Name of the model that the target server claims to serve."""

    small_model_port: int = 40000
    """Port of the draft server; 0: a free one."""

    eval_model_port: int = 40001
    """Port of the target server; 0: a free one."""

    release: str = "0.5.23"
    """SGLang release to imitate: 0.5.23 or 0.4.3.post4."""

    tokenizer: str = str(demo.MODELS["target"])
    """Tokenizer of both: a folder or a hub id."""

    context_length: int = 131072
    """Tokens of prompt and continuation together."""

    speed: float = 0.0
    """1: the timing below; 10: ten times as fast; 0: no waiting at all."""

    small_step_seconds: float = 0.0052
    """Seconds of a decode step of the draft (R1-Distill-Qwen-1.5B on an A100)."""

    eval_step_seconds: float = 0.0255
    """Seconds of a decode step of the target (QwQ-32B on two A100)."""

    prefill_tokens_per_second: float = 4000.0
    """Of both."""

    max_running: int = 0
    """Most requests running at a server; the others queue; 0: no limit."""

    small_fault: tuple[str, ...] = ()
    """Failures of the draft server, like status,at=3+7,status=429 or delay,share=0.1,seconds=2."""

    eval_fault: tuple[str, ...] = ()
    """Failures of the target server."""

    seed: int = 0
    """Draws random content and random failures."""


def pair(settings: EmulatorSettings) -> list[Served]:
    """The two servers that ``settings`` describe. Raises UserError."""
    if settings.release not in RELEASES:
        raise UserError(f"--release {settings.release} is not known; there are {', '.join(RELEASES)}")
    content: Content = RandomText(settings.seed)
    if settings.recording is not None:
        content = Recorded(read_recording(settings.recording), "draft", "target")
    names = {"draft": settings.small_model_name, "target": settings.eval_model_name}
    ports = {"draft": settings.small_model_port, "target": settings.eval_model_port}
    steps = {"draft": settings.small_step_seconds, "target": settings.eval_step_seconds}
    faults = {"draft": settings.small_fault, "target": settings.eval_fault}
    try:
        return [
            Served(
                role=role,
                name=names[role],
                content=content,
                tokenizer=settings.tokenizer,
                port=ports[role],
                release=RELEASES[settings.release],
                context_length=settings.context_length,
                timing=Timing(
                    step_seconds=steps[role],
                    prefill_tokens_per_second=settings.prefill_tokens_per_second,
                    max_running=settings.max_running,
                    speed=settings.speed,
                ),
                faults=tuple(map(Fault.parse, faults[role])),
                seed=settings.seed,
            )
            for role in names
        ]
    except ValueError as error:
        raise UserError(str(error)) from None


async def serve(settings: EmulatorSettings) -> str:
    """Runs both until interrupted. Raises UserError."""
    async with AsyncExitStack() as stack:
        for served in pair(settings):
            try:
                server = await stack.enter_async_context(Server(served))
            except OSError as error:
                raise UserError(f"the emulated {served.role} can't listen on port {served.port}: {error}") from None
            print(f"{served.role}: {served.name} on {server.url}", flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "stopped"
    raise AssertionError
