"""How many requests and samples are in flight: fixed by the user, or found during the run.

The more requests a server has, the more tokens it writes a second, until the chains under way no
longer fit its memory: then every chain has lost its place in the prefix cache when it comes back,
all of it is computed again, and the run slows down several times over. So

* no more chains are under way than fit each server's memory at their present size, which the
  server tells (the share of its memory that its running requests hold). Chains that are with the
  other server come back, so they count; chains that wait at this limit don't, for the older ones go
  first (ATTS.serving.capacity) and keep their place;
* less of the memory is used when the replies show that chains are forgotten all the same, or when
  requests queue inside the server or are thrown out; more again when they don't;
* no more requests are in flight than the server answers in half of the time limit of one, so that none fails for
  being one of many: on a CPU memory holds more chains than can be written in time;
* samples are started as long as no server has requests waiting for it: then more can't help.

A server that doesn't tell its memory is treated as TCP treats a line: its limit grows while replies
show that nothing is forgotten, and is cut when they show otherwise.
"""

import asyncio
import math
from dataclasses import dataclass, field
from typing import NotRequired, Protocol, TypedDict

from ATTS.method.chain import CacheStats
from ATTS.method.types import Transcript
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.load import Load
from ATTS.serving.server_info import ServerInfo

POLL_SECONDS = 1.0  # between two looks at the servers
START = 8  # requests at each server, and samples, to begin with
MAX = 4096
FILL = 0.9  # share of a server's memory for the chains under way, to begin with
SPARE = 1.25  # samples in flight for each that fits: the others wait at a limit, ready to step in
MIN_SHARE = 0.35  # of the chains that fit a server: it may always have this share, wherever the others are
UNTIMED = 32  # requests in flight until the first has ended
PATIENCE = 0.5  # of a request's time limit: so long one may take on the average
MIN_FILL, MAX_FILL = 0.3, 0.95
SMOOTH = 0.2  # weight of the newest look in the running means
FORGOTTEN = (0.03, 0.10)  # of what a server had seen of the chains: below, there is room; above, it is too much
QUEUED = 0.5  # requests queueing inside a server, for each that runs: too much


class Watched(Protocol):
    """A model whose server can be looked at."""

    role: str
    info: ServerInfo

    async def load(self) -> Load | None:
        """One look at the server; None where it says nothing."""
        ...


@dataclass
class Means:
    """Of all looks at one server."""

    looks: int = 0
    with_work: float = 0.0  # share of them in which it had any
    running: float = 0.0
    queued: float = 0.0
    token_usage: float = 0.0
    most_token_usage: float = 0.0

    def note(self, load: Load) -> None:
        """Adds a look to the means."""
        self.looks += 1
        values = {"running": load.running, "queued": load.queued, "token_usage": load.token_usage}
        for name, value in {**values, "with_work": float(load.running + load.queued > 0)}.items():
            mean = getattr(self, name)
            setattr(self, name, mean + (value - mean) / self.looks)
        self.most_token_usage = max(self.most_token_usage, load.token_usage)


class ByMetrics(TypedDict):
    """Means over all looks at a server's page of metrics, and what it counted in between."""

    looks: int
    with_work: float
    running: float
    queued: float
    token_usage: float
    most_token_usage: float
    retracted: float
    prompt_tokens: float
    cached_tokens: float
    written_tokens: float


class ServerReport(TypedDict):
    """How full a server was; None where nothing is known."""

    busy: float | None  # share of the time with any request in flight
    in_flight: float | None  # on the average
    most_in_flight: int
    limit: int | None  # None: found on the way
    last_limit: int
    slots_busy_until_queue_empty: float | None  # of fixed limits
    forgotten: float | None  # of what it had seen of the chains, the share that was not in its cache any more
    by_its_metrics: NotRequired[ByMetrics]


@dataclass
class Server:
    """What is known of one server, and the limit on its requests."""

    model: Watched
    gate: CapacityLimiter
    memory: CacheStats
    adaptive: bool
    patience: float = math.inf  # seconds that a request may take on the average
    means: Means = field(default_factory=Means)
    first: Load | None = None
    last: Load | None = None
    fill: float = FILL
    size: float | None = None  # share of its memory that one chain takes
    queued: float = 0.0  # for each running one
    occupied_until_empty: float = 0.0  # seconds of its slots, until the last sample started
    kept_waiting: bool = False  # requests, by the limit, in this round of samples
    _left: int = 0  # requests done when the round began
    _busy: float = 0.0  # seconds of work then
    _rate: float = 0.0  # requests a second of the round before
    _seen: CacheStats = field(default_factory=CacheStats)
    _retracted: float = 0.0

    async def look(self) -> None:
        """Asks the server how busy it is."""
        load = await self.model.load()
        self.kept_waiting = self.kept_waiting or self.gate.waiting > 0
        if load is None:
            return
        if self.first is None:
            self.first, self._retracted = load, load.retracted
        self.last = load
        self.means.note(load)
        if load.running >= 1 and load.token_usage > 0:
            size = load.token_usage / load.running
            self.size = size if self.size is None else self.size + SMOOTH * (size - self.size)
            self.queued += SMOOTH * (load.queued / load.running - self.queued)

    def adapt(self, away: int) -> None:
        """Moves the limit; ``away`` chains are with another server."""
        if not self.adaptive:
            return
        strained = self._strained() if self.gate.left - self._left >= self.gate.limit else None
        if self.size is not None:
            if strained is not None:
                self.fill = max(MIN_FILL, 0.9 * self.fill) if strained else min(MAX_FILL, self.fill + 0.02)
            fits = int(self.fill / self.size)
            self.gate.limit = min(MAX, self._in_time(), max(START, fits - away, int(MIN_SHARE * fits)))
        elif strained:
            self.gate.limit = max(START // 2, int(0.8 * self.gate.limit))
        elif strained is False and self.gate.kept_waiting:
            self.gate.limit = min(MAX, self._in_time(), self.gate.limit + max(1, self.gate.limit // 4))
        if strained is not None:
            self.gate.kept_waiting = False

    def report(self, seconds: float, until_empty: float | None) -> ServerReport:
        """What is known of the server after a run of ``seconds``."""
        gate, first, last = self.gate, self.first, self.last
        state: ServerReport = {
            "busy": gate.busy_seconds / seconds if seconds else None,
            "in_flight": gate.occupied_seconds / seconds if seconds else None,
            "most_in_flight": gate.most_inside,
            "limit": None if self.adaptive else gate.limit,
            "last_limit": gate.limit,
            "slots_busy_until_queue_empty": (
                self.occupied_until_empty / (gate.limit * until_empty) if until_empty and not self.adaptive else None
            ),
            "forgotten": 1 - self.memory.cached / self.memory.known if self.memory.known else None,
        }
        if first is not None and last is not None:
            state["by_its_metrics"] = {
                "looks": self.means.looks,
                "with_work": self.means.with_work,
                "running": self.means.running,
                "queued": self.means.queued,
                "token_usage": self.means.token_usage,
                "most_token_usage": self.means.most_token_usage,
                "retracted": last.retracted - first.retracted,
                "prompt_tokens": last.prompt_tokens - first.prompt_tokens,
                "cached_tokens": last.cached_tokens - first.cached_tokens,
                "written_tokens": last.written_tokens - first.written_tokens,
            }
        return state

    def _in_time(self) -> int:
        """Requests in flight that take as long as ``patience``, at the rate at which they end (Little's law). Until the
        first has ended nothing is known, and there are few."""
        if math.isinf(self.patience):
            return MAX
        self.gate.occupied()  # counts up to now
        left, busy = self.gate.left - self._left, self.gate.busy_seconds - self._busy
        rate = self._rate or (left / busy if busy else 0.0)  # many may end at once, as they began
        return max(START // 2, int(self.patience * rate)) if rate else UNTIMED

    def _strained(self) -> bool | None:
        """Whether the server had too much to do in the round that ends now; None: just enough."""
        self.gate.occupied()
        busy = self.gate.busy_seconds - self._busy
        self._rate, self._busy = (self.gate.left - self._left) / busy if busy else 0.0, self.gate.busy_seconds
        known, cached = self.memory.known - self._seen.known, self.memory.cached - self._seen.cached
        self._left, self._seen = self.gate.left, CacheStats(self.memory.known, self.memory.cached)
        forgotten = 1 - cached / known if known else 0.0
        retracted = self.last is not None and self.last.retracted > self._retracted
        self._retracted = self.last.retracted if self.last else 0.0
        if forgotten > FORGOTTEN[1] or retracted or self.queued > QUEUED:
            return True
        return None if forgotten > FORGOTTEN[0] else False


class Lengths:
    """How long a chain in flight is, on the average over time: E[L^2] / 2 E[L] of the lengths L that
    chains end with, because a chain grows from nothing to L and a longer one is in flight longer.

    Chains under way are taken to become as long as they may: those that end first are the short ones.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._sum = self._squares = 0.0

    def add(self, tokens: int) -> None:
        """A sample has ended with a chain of this many tokens."""
        self._sum += tokens
        self._squares += tokens**2

    def in_flight(self, under_way: int) -> float:
        """Expected tokens of a chain under way when ``under_way`` of them are."""
        open_ended = max(1, under_way) * self._longest
        return (self._squares + open_ended * self._longest) / (2 * (self._sum + open_ended))


class Limits:
    """The gates of a run, and the task that moves those that the user left open. ``async with`` it.

    ``samples``: most samples in flight; 0: adaptive, or the sum of the limits on requests if those are
    all fixed, because a sample has one request under way at a time. ``longest``: tokens that a chain
    may get at most. ``request_timeout``: seconds after which a request counts as failed.
    """

    def __init__(self, samples: int = 0, longest: int = 10_000, request_timeout: float = math.inf) -> None:
        self.samples = CapacityLimiter(samples or START)
        self.servers: list[Server] = []
        self.lengths = Lengths(longest)
        self.seconds = 0.0  # of the run, when it is over
        self._patience = PATIENCE * request_timeout
        self._adaptive = samples == 0
        self._rising = True
        self._done = 0  # requests, when the round began
        self._began = 0.0
        self._queue_empty: float | None = None  # seconds until then
        self._task: asyncio.Task[None] | None = None

    def gate(self, limit: int) -> CapacityLimiter:
        """A limit on requests; 0: adaptive, once :meth:`add` says for which server."""
        return CapacityLimiter(limit or START)

    def add(self, model: Watched, gate: CapacityLimiter, memory: CacheStats, adaptive: bool) -> Server:
        """A server of the run, with the gate before it; ``memory`` counts what its replies say."""
        server = Server(model, gate, memory, adaptive, self._patience)
        self.servers.append(server)
        return server

    async def __aenter__(self) -> "Limits":
        if self._adaptive and not any(server.adaptive for server in self.servers):
            self._adaptive = False
            self.samples.limit = sum(server.gate.limit for server in self.servers)
        self._began = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.seconds = asyncio.get_running_loop().time() - self._began
        for server in self.servers:
            server.gate.occupied()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()) is not None and exception[0] is None:
                raise error

    def ended(self, chain: Transcript) -> None:
        """A sample has ended with this chain."""
        used = [event.usage for event in chain.history]
        self.lengths.add(max((u.prompt_tokens + u.completion_tokens for u in used), default=1))

    def queue_is_empty(self) -> None:
        """The last sample has started."""
        self._queue_empty = asyncio.get_running_loop().time() - self._began
        for server in self.servers:
            server.occupied_until_empty = server.gate.occupied()

    @property
    def answered(self) -> int:
        """Requests so far."""
        return sum(server.gate.left for server in self.servers)

    def report(self) -> dict[str, ServerReport]:
        """How full each server was: by this side's slots, and by its own page of metrics."""
        return {server.model.role: server.report(self.seconds, self._queue_empty) for server in self.servers}

    async def _run(self) -> None:
        while True:
            for server in self.servers:
                await server.look()
            inside = sum(server.gate.inside for server in self.servers)
            for server in self.servers:
                server.adapt(inside - server.gate.inside)
            self._adapt_samples()
            await asyncio.sleep(POLL_SECONDS)

    def _adapt_samples(self) -> None:
        if not self._adaptive:
            return
        length = self.lengths.in_flight(self.samples.inside)
        memories = [(server.fill, server.model.info.kv_tokens) for server in self.servers]
        fit = [int(SPARE * fill * tokens / length) for fill, tokens in memories if tokens]
        if fit:
            self.samples.limit = min(MAX, max(START, min(fit)))
            return
        # Nothing is known of the memory: one decision for every round, in which each sample has gone
        # through a turn or so.
        done = self.answered
        if done - self._done < 2 * self.samples.limit:
            return
        self._done = done
        supplied = any(server.kept_waiting for server in self.servers)
        for server in self.servers:
            server.kept_waiting = server.gate.waiting > 0
        if supplied:
            self._rising = False
        elif self.samples.waiting:
            more = self.samples.limit if self._rising else max(1, self.samples.limit // 8)
            self.samples.limit = min(MAX, self.samples.limit + more)
