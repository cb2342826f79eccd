"""The page of /metrics: SGLang's counters, by their names."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ATTS.emulator.replies import Reply
from ATTS.serving.load import Load

COUNTERS = {
    "num_requests": "Requests finished.",
    "num_aborted_requests": "Requests whose client left.",
    "prompt_tokens": "Tokens of prompts.",
    "cached_tokens": "Of them, those from the radix cache.",
    "generation_tokens": "Tokens written.",
}
GAUGES = {
    "num_running_reqs": "Requests running.",
    "num_queue_reqs": "Requests queueing.",
    "token_usage": "Share of the memory that running requests hold.",
    "num_retracted_reqs": "Requests retracted because memory ran out.",
}


class Counters:
    """Of one emulated server."""

    def __init__(self, name: str) -> None:
        self._registry, labels = CollectorRegistry(), ("model_name",)
        self._counters = {
            key: Counter(f"sglang:{key}", about, labels, registry=self._registry).labels(name)
            for key, about in COUNTERS.items()
        }
        self._gauges = {
            key: Gauge(f"sglang:{key}", about, labels, registry=self._registry).labels(name)
            for key, about in GAUGES.items()
        }
        latency = Histogram("sglang:e2e_request_latency_seconds", "Of a request.", labels, registry=self._registry)
        self._seconds = latency.labels(name)

    @contextmanager
    def request(self, reply: Reply) -> Iterator[None]:
        """Counts one request: as finished when the block ends, as aborted when it is broken off."""
        try:
            with self._seconds.time():
                yield
        except BaseException:
            self._counters["num_aborted_requests"].inc()
            raise
        counts = (1, len(reply.request.ids), reply.cached, len(reply.ids))
        for key, count in zip(
            ("num_requests", "prompt_tokens", "cached_tokens", "generation_tokens"), counts, strict=True
        ):
            self._counters[key].inc(count)

    def page(self, load: Load) -> str:
        """The page, with the gauges as ``load`` tells them."""
        values = (load.running, load.queued, load.token_usage, load.retracted)
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            gauge.set(value)
        return generate_latest(self._registry).decode()
