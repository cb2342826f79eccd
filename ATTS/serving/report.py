"""How full a server was, as summaries tell it."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ATTS.serving.load import Load


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
    # Of what it had seen of the chains, the share that was not in its cache any more; over all servers of a model.
    forgotten: float | None
    url: NotRequired[str]
    chains_moved: NotRequired[int]  # from there to another server of the model
    requests: NotRequired[int]  # answered
    prompt_tokens: NotRequired[int]  # of those
    cached_share: NotRequired[float | None]  # of the prompt tokens, what was in its prefix cache
    by_its_metrics: NotRequired[ByMetrics]
