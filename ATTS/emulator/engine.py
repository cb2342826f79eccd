"""When an emulated server answers: continuous batching over a limited memory, in real, scaled or virtual time."""

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ATTS.emulator.radix import Node, RadixCache
from ATTS.emulator.timing import Timing
from ATTS.serving.load import Load

NOTHING = 1e-9  # of a token


@dataclass(eq=False, slots=True)
class Job:
    """One request: its prompt, how much of that may come from the cache, and what it will write."""

    prompt: Sequence[int]
    cacheable: int
    output: Sequence[int]
    cached: int = 0  # of the prompt, found in the cache when it was admitted for the first time
    admitted: bool = False  # before, or now
    queued_at: float = 0.0  # when it last began to wait for room
    queued_seconds: float = 0.0  # that it waited, the times after it was thrown out included
    # Inside the engine:
    done: asyncio.Future[None] | None = None
    goal: float = 0.0  # the engine's step count at which it is finished
    written: float = 0.0  # tokens before it was last admitted
    began: float = 0.0  # step count when it was
    pin: Node | None = None
    private: float = 0.0  # tokens of memory it holds outside the cache; its output comes on top

    @property
    def left(self) -> float:
        """Tokens it had still to write when it was last admitted."""
        return len(self.output) - self.written

    def most_cached(self, known: int, page: int = 1) -> int:
        """Of ``known`` leading tokens, those that save work: whole pages, and the last one is always computed."""
        most = min(known, self.cacheable, max(0, len(self.prompt) - 1))
        return most - most % page


@dataclass(slots=True)
class Spent:
    """What a server did, in seconds of its own clock and in tokens."""

    decode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    request_seconds: float = 0.0  # running requests, added up
    written: float = 0.0  # given up ones included
    prefilled: int = 0
    prompt: int = 0
    cached: int = 0
    context_steps: float = 0.0  # tokens of all running requests, added up over decode steps
    retracted: int = 0
    most_kv: float = 0.0  # tokens that running requests held at most
    most_running: int = 0

    @property
    def busy_seconds(self) -> float:
        """Seconds with any request running."""
        return self.decode_seconds + self.prefill_seconds


class Engine:
    """One server's scheduler. Between two events (a request comes, goes or is finished, or memory is
    full) the batch is constant, so it sleeps through all steps in between."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.cache = RadixCache(timing.kv_tokens)
        self.queued: deque[Job] = deque()
        self.running: dict[Job, None] = {}  # in order of admission
        self.spent = Spent()
        self._steps = 0.0  # decode steps so far
        self._context = 0.0  # tokens of all running requests
        self._private = 0.0  # of them, outside the cache
        self._goals = 0.0  # step counts at which they are finished, added up
        self._events: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._looked = 0.0  # when the batch was last looked at
        self._step = 0.0  # seconds a step takes with it
        self._until = 0.0  # step count up to which it is constant
        self._wake: asyncio.Future[bool] | None = None  # while it decodes; True: it has come there
        self._task: asyncio.Task[None] | None = None

    async def run(self, job: Job) -> None:
        """Returns when ``job`` is finished; to be cancelled is to abort it."""
        if self.timing.speed == 0:
            job.cached = job.most_cached(self.cache.match(job.prompt), self.timing.page)
            await asyncio.sleep(0)
            self.cache.insert([*job.prompt, *job.output])
            return
        loop = asyncio.get_running_loop()
        job.done, job.queued_at = loop.create_future(), loop.time()
        self.queued.append(job)
        self._changed()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        try:
            await job.done
        except asyncio.CancelledError:  # its client has left
            if job in self.running:
                self._look()
                self._leave(job)
            elif job in self.queued:
                self.queued.remove(job)
            self._changed()
            raise

    def load(self) -> Load:
        """What the page of metrics would say."""
        kv = self.timing.kv_tokens
        return Load(
            running=len(self.running),
            queued=len(self.queued),
            token_usage=(self._private + self.cache.pinned) / kv if kv else 0.0,
            retracted=self.spent.retracted,
            prompt_tokens=self.spent.prompt,
            cached_tokens=self.spent.cached,
            written_tokens=self.spent.written,
        )

    def flush(self) -> bool:
        """Empties the cache. Returns whether it could: not while requests run."""
        if not self.running:
            self.cache = RadixCache(self.timing.kv_tokens)
        return not self.running

    async def stop(self) -> None:
        """Ends the engine's task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # The scheduler

    async def _serve(self) -> None:
        try:
            while self.queued or self.running:
                await self._prefill()
                await self._decode()
        except Exception as error:
            for job in (*self.running, *self.queued):
                if job.done is not None and not job.done.done():
                    job.done.set_exception(RuntimeError(f"the emulated server has failed: {error!r}"))
            raise

    async def _prefill(self) -> None:
        """Admits whom there is room for, as many at once as one forward pass computes."""
        while self.queued:
            batch: list[Job] = []
            tokens = 0
            while self.queued and tokens < self.timing.prefill_tokens and self._has_room(self.queued[0]):
                job = self.queued.popleft()
                tokens += self._admit(job)
                batch.append(job)
            if not batch:
                return
            seconds = self.timing.prefill(tokens)
            self._until = self._steps  # nothing is decoded meanwhile
            self.spent.prefill_seconds += seconds
            self.spent.request_seconds += seconds * len(self.running)
            self.spent.prefilled += tokens
            if seconds:
                await asyncio.sleep(seconds / self.timing.speed)
            self._finish()

    def _has_room(self, job: Job) -> bool:
        timing = self.timing
        if timing.max_running and len(self.running) >= timing.max_running:
            return False
        if not timing.kv_tokens or not self.running:
            return True
        room = timing.kv_tokens - self._private - self.cache.pinned
        left = job.left + self._goals - self._steps * len(self.running)  # what all may still write
        room -= math.ceil(job.written) + timing.reserve * left
        return len(job.prompt) <= room or len(job.prompt) - self.cache.match_pinned(job.prompt) <= room

    def _admit(self, job: Job) -> int:
        """Gives the job its memory. Returns the tokens to compute."""
        job.private, cached = job.written, 0
        if self.cache.capacity:
            job.pin, known = self.cache.pin(job.prompt)
            cached = job.most_cached(known, self.timing.page)
            self._make_room(len(job.prompt) - known)
            job.pin = self.cache.extend(job.pin, job.prompt[known:])
        else:
            job.private += len(job.prompt)
        new = len(job.prompt) - cached + math.ceil(job.written)
        job.queued_seconds += asyncio.get_running_loop().time() - job.queued_at
        if not job.admitted:
            job.admitted, job.cached = True, cached
            self.spent.prompt += len(job.prompt)
            self.spent.cached += cached
        job.began = self._steps
        job.goal = self._steps + job.left
        self.running[job] = None
        self._goals += job.goal
        self._private += job.private
        self._context += len(job.prompt) + job.written
        heapq.heappush(self._events, (job.goal, next(self._numbers), job))
        self.spent.most_running = max(self.spent.most_running, len(self.running))
        self._note_kv()
        return new

    async def _decode(self) -> None:
        """Decodes until the next request is finished, or the batch changes."""
        self._finish()
        if not self.running:
            return
        while (room := self._steps_of_room()) < 1 and len(self.running) > 1:
            self._retract()
        running = len(self.running)
        steps = min(max(0.0, self._events[0][0] - self._steps), max(room, 1.0))
        step = self.timing.step(running, self._context + running * steps / 2)
        loop = asyncio.get_running_loop()
        self._looked, self._step, self._until = loop.time(), step / self.timing.speed, self._steps + steps
        self._wake = loop.create_future()
        timer = loop.call_later(steps * self._step, self._changed, True)
        try:
            ended = await self._wake
        finally:
            timer.cancel()
            self._wake = None
        if ended:
            self._advance(self._until)
        else:
            self._look()
        self._finish()

    def _steps_of_room(self) -> float:
        """Decode steps for which the memory suffices."""
        kv = self.timing.kv_tokens
        return (kv - self.cache.pinned - self._private) / len(self.running) if kv else math.inf

    def _changed(self, ended: bool = False) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(ended)

    def _look(self) -> None:
        """Counts the steps since the last look, if the batch is decoding; one not over counts with its fraction."""
        now = asyncio.get_running_loop().time()
        steps = (now - self._looked) / self._step if self._step else 0.0
        self._advance(min(self._steps + steps, self._until))
        self._looked = now

    def _advance(self, to: float) -> None:
        steps, running = max(0.0, to - self._steps), len(self.running)
        seconds = steps * self._step * self.timing.speed
        self._steps += steps
        self.spent.context_steps += steps * (self._context + steps * running / 2)
        self._context += steps * running
        self._private += steps * running
        self.spent.decode_seconds += seconds
        self.spent.request_seconds += seconds * running
        self.spent.written += steps * running
        self._note_kv()
        self._make_room(0)

    def _finish(self) -> None:
        while self._events and self._events[0][0] <= self._steps + NOTHING:
            _, _, job = heapq.heappop(self._events)
            if job not in self.running:
                continue
            self._make_room(len(job.output))
            if job.pin is not None:
                self.cache.insert_behind(job.pin, job.output)
            self._leave(job)
            if job.done is not None and not job.done.done():  # it is done, too, when its client left just now
                job.done.set_result(None)

    def _leave(self, job: Job) -> None:
        del self.running[job]
        wrote = self._steps - job.began
        self._context -= len(job.prompt) + job.written + wrote
        self._private -= job.private + wrote
        job.written += wrote
        self._goals -= job.goal
        if job.pin is not None:
            self.cache.unpin(job.pin)
            job.pin = None
        if not self.running:
            self._context = self._private = self._goals = 0.0  # what rounding left

    def _retract(self) -> None:
        """Out of memory: the youngest request gives its own back and starts again later."""
        job = next(reversed(self.running))
        self._leave(job)
        self._events = [event for event in self._events if event[2] is not job]
        heapq.heapify(self._events)
        job.queued_at = asyncio.get_running_loop().time()
        self.queued.appendleft(job)
        self.spent.retracted += 1

    def _make_room(self, tokens: int) -> None:
        if self.cache.capacity:
            self.cache.evict(math.ceil(self.cache.size + self._private + tokens - self.cache.capacity))

    def _note_kv(self) -> None:
        self.spent.most_kv = max(self.spent.most_kv, self._private + self.cache.pinned)
