"""When an emulated server answers: continuous batching and a radix cache, in real or scaled time."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

NOTHING = 1e-9  # of a token


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Speed of a server. A decode step gives every running request one token and takes

        step_seconds + step_seconds_per_request * running + step_seconds_per_kilotoken * context / 1000

    with ``context`` the tokens of all running requests. Prefill of a new request's uncached tokens
    stops the others meanwhile, as in SGLang without mixed chunks.
    """

    step_seconds: float = 0.0255  # QwQ-32B on two A100: 39 tokens/s alone, 78 at 2, 115 at 3
    step_seconds_per_request: float = 0.0
    step_seconds_per_kilotoken: float = 0.0
    prefill_tokens_per_second: float = 4000.0
    max_running: int = 0  # requests at a time; the others queue; 0 = no limit
    cache_tokens: int = 200_000  # of the radix cache; 0 = none
    speed: float = 1.0  # 10: everything takes a tenth; 0: no waiting at all

    def __post_init__(self) -> None:
        for name in ("step_seconds", "step_seconds_per_request", "step_seconds_per_kilotoken", "speed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.prefill_tokens_per_second <= 0:
            raise ValueError("prefill_tokens_per_second must be positive")
        if self.max_running < 0 or self.cache_tokens < 0:
            raise ValueError("max_running and cache_tokens must not be negative")

    def step(self, running: int, context: float) -> float:
        per_token = self.step_seconds_per_kilotoken * context / 1000
        return self.step_seconds + self.step_seconds_per_request * running + per_token


class RadixCache:
    """Which prompts' beginnings are known: one entry a token, the least recently used leave first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: OrderedDict[int, None] = OrderedDict()  # hash of everything up to a token

    def match(self, ids: Sequence[int]) -> int:
        """How many leading tokens of ``ids`` are known."""
        if not self._known:
            return 0
        chain = 0
        for length, token in enumerate(ids):
            chain = hash((chain, token))
            if chain not in self._known:
                return length
        return len(ids)

    def insert(self, ids: Sequence[int]) -> None:
        if not self._capacity:
            return
        chain = 0
        prefixes = []
        for token in ids:
            chain = hash((chain, token))
            prefixes.append(chain)
        for prefix in reversed(prefixes):  # the beginning is the most recent, so ends are dropped first
            self._known[prefix] = None
            self._known.move_to_end(prefix)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)


@dataclass(eq=False, slots=True)
class _Job:
    context: float  # tokens of the prompt and of what is written
    prefill: int  # of them, those to compute
    left: float  # tokens still to write
    every: float  # tokens between two tellings
    untold: float = field(init=False)  # tokens to write until the next one
    told: asyncio.Event = field(default_factory=asyncio.Event)
    finished: bool = False

    def __post_init__(self) -> None:
        self.untold = self.every

    def write(self, tokens: float) -> None:
        self.context += tokens
        self.left -= tokens
        self.untold -= tokens
        if self.untold <= NOTHING:
            self.untold = self.every
            self.told.set()


class Engine:
    """One server's scheduler. Between two events (a request comes, goes, is finished or streams a
    token) the batch is constant, so it sleeps through all steps in between at once."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.cache = RadixCache(timing.cache_tokens)
        self.queued: list[_Job] = []
        self.running: list[_Job] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def serve(self, prompt: int, uncached: int, tokens: int) -> None:
        """Returns when a request with ``prompt`` tokens, ``uncached`` of them new, has written ``tokens``."""
        async with aclosing(self.stream(prompt, uncached, tokens, every=math.inf)) as counts:
            async for _ in counts:
                pass

    async def stream(self, prompt: int, uncached: int, tokens: int, every: float = 1) -> AsyncGenerator[int, None]:
        """As :meth:`serve`; yields the number of tokens written, when ``every`` more are, and at the end.

        To close the generator is to abort the request.
        """
        if self.timing.speed == 0:
            for count in range(1, tokens) if every == 1 else ():
                yield count
            await asyncio.sleep(0)
            yield tokens
            return
        job = _Job(prompt, uncached, tokens, every)
        self.queued.append(job)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            while not job.finished:
                await job.told.wait()
                job.told.clear()
                yield tokens - math.ceil(job.left - NOTHING)
        finally:  # finished, or its client has left
            for jobs in (self.queued, self.running):
                if job in jobs:
                    jobs.remove(job)
            self._changed.set()

    async def _run(self) -> None:
        while self.queued or self.running:
            await self._prefill()
            await self._decode()

    async def _prefill(self) -> None:
        room = (self.timing.max_running or math.inf) - len(self.running)
        while self.queued and room > 0:
            job = self.queued.pop(0)
            self.running.append(job)
            await self._sleep(job.prefill / self.timing.prefill_tokens_per_second)
            room -= 1
            self._finish()

    async def _decode(self) -> None:
        """Decode until the next request is finished or tells a token, or the batch changes."""
        self._finish()
        if not self.running:
            return
        step = self.timing.step(len(self.running), sum(job.context for job in self.running))
        steps = min(min(job.left, job.untold) for job in self.running)
        self._changed.clear()
        batch = list(self.running)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(steps * step / self.timing.speed):
                await self._changed.wait()
            steps = min(steps, (loop.time() - began) * self.timing.speed / step) if step else steps
        except TimeoutError:
            pass
        for job in batch:
            job.write(steps)
        self._finish()

    def _finish(self) -> None:
        for job in list(self.running):
            if job.left <= NOTHING:
                self.running.remove(job)
                job.finished = True
                job.told.set()

    async def _sleep(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds / self.timing.speed)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
