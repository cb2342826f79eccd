"""The page of metrics, in Prometheus's format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ATTS.api.cost import Cost
from ATTS.method.chain import Chain
from ATTS.method.types import Stage

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)
LAST_TURN = 32  # later turns are counted as this one


class Metrics:
    """Counters of one server. ``waiting``, ``running``: how many samples are."""

    def __init__(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("atts_requests", "Requests, by path and status", ("path", "status"), registry=registry)
        self._tokens = Counter("atts_tokens", "Tokens written, by author", ("author",), registry=registry)
        self._discarded = Counter("atts_discarded_tokens", "Of those, tokens that no text has", registry=registry)
        self._scored_tokens = Counter("atts_scored_tokens", "Tokens that the target scored", registry=registry)
        self._scored = Counter("atts_scored_chunks", "Chunks scored, by turn", ("turn",), registry=registry)
        self._rejected = Counter("atts_rejected_chunks", "Chunks rejected, by turn", ("turn",), registry=registry)
        self._samples = Counter("atts_samples", "Samples that ran", registry=registry)
        self._seconds = Histogram(
            "atts_request_seconds", "Of whole answers", ("path",), buckets=SECONDS, registry=registry
        )
        self._first = Histogram(
            "atts_first_text_seconds", "Until an answer's first text", buckets=SECONDS, registry=registry
        )
        for name, about, function in (
            ("atts_samples_waiting", "Samples in the queue", waiting),
            ("atts_samples_running", "Samples under way", running),
        ):
            Gauge(name, about, registry=registry).set_function(function)

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request to a path of the API has ended."""
        self._requests.labels(path, status).inc()
        if status == 200:
            self._seconds.labels(path).observe(seconds)

    def first_text(self, seconds: float) -> None:
        """An answer has its first text, so long after its request came."""
        self._first.observe(seconds)

    def sample(self, chain: Chain, cost: Cost) -> None:
        """A sample has ended, whatever way."""
        self._samples.inc()
        self._tokens.labels("draft").inc(cost.draft_tokens)
        self._tokens.labels("target").inc(cost.target_tokens)
        self._discarded.inc(cost.discarded_tokens)
        self._scored_tokens.inc(cost.scored_tokens)
        for event in chain.history:
            if event.stage is Stage.SCORE:
                turn = str(min(event.turn + 1, LAST_TURN))
                self._scored.labels(turn).inc()
                self._rejected.labels(turn).inc(int(bool(event.rejected)))

    def page(self) -> bytes:
        """The text of the page."""
        return generate_latest(self._registry)
