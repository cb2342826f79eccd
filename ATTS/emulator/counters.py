"""The page of /metrics: SGLang's counters, by their names."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ATTS.emulator.replies import Reply
from ATTS.serving.load import Load


class Counters:
    """Of one emulated server."""

    def __init__(self, name: str) -> None:
        self._registry = CollectorRegistry()
        self._label = {"model_name": name}
        self.requests = self._counter("num_requests", "Requests finished.")
        self.aborted = self._counter("num_aborted_requests", "Requests whose client left.")
        self.prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self.cached = self._counter("cached_tokens", "Of them, those from the radix cache.")
        self.written = self._counter("generation_tokens", "Tokens written.")
        self._running = self._gauge("num_running_reqs", "Requests running.")
        self._queued = self._gauge("num_queue_reqs", "Requests queueing.")
        self._usage = self._gauge("token_usage", "Share of the memory that running requests hold.")
        self._retracted = self._gauge("num_retracted_reqs", "Requests thrown out for want of memory.")
        self._seconds = Histogram(
            "sglang:e2e_request_latency_seconds", "Seconds of a request.", ["model_name"], registry=self._registry
        )

    def _counter(self, name: str, about: str) -> Counter:
        counter = Counter(f"sglang:{name}", about, ["model_name"], registry=self._registry)
        counter.labels(**self._label)
        return counter

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"sglang:{name}", about, ["model_name"], registry=self._registry)

    @contextmanager
    def request(self, reply: Reply) -> Iterator[None]:
        """Counts one request: as finished when the block ends, as aborted when it is broken off."""
        try:
            with self._seconds.labels(**self._label).time():
                yield
        except BaseException:
            self.aborted.labels(**self._label).inc()
            raise
        for counter, tokens in (
            (self.requests, 1),
            (self.prompt, len(reply.request.ids)),
            (self.cached, reply.cached),
            (self.written, len(reply.ids)),
        ):
            counter.labels(**self._label).inc(tokens)

    def page(self, load: Load) -> str:
        for gauge, value in (
            (self._running, load.running),
            (self._queued, load.queued),
            (self._usage, load.token_usage),
            (self._retracted, load.retracted),
        ):
            gauge.labels(**self._label).set(value)
        return generate_latest(self._registry).decode()
