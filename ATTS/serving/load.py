"""How busy a server is, by its own page of metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """One look at a server. Tokens are counted from the server's start."""

    running: float  # requests
    queued: float
    token_usage: float  # of its memory: the share that running requests hold
    retracted: float  # requests retracted because memory ran out, so far
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    written_tokens: float = 0.0
    used_tokens: float = 0.0  # of its memory
    summed_lengths: float = 0.0  # of the requests that it writes, in tokens

    @property
    def progress(self) -> tuple[float, ...]:
        """What moves while the server works, whether a request ends or not."""
        counted = self.prompt_tokens, self.cached_tokens, self.written_tokens, self.retracted
        return (*counted, self.token_usage, self.used_tokens, self.summed_lengths)


# SGLang's names on 0.5.23; older releases lack some. The first that is there counts.
NAMES = {
    "running": ("sglang:num_running_reqs",),
    "queued": ("sglang:num_queue_reqs",),
    "token_usage": ("sglang:token_usage",),
    "retracted": ("sglang:num_retracted_requests_total", "sglang:num_retracted_reqs"),
    "prompt_tokens": ("sglang:prompt_tokens_total",),
    "cached_tokens": ("sglang:cached_tokens_total",),
    "written_tokens": ("sglang:generation_tokens_total",),
    "used_tokens": ("sglang:num_used_tokens",),
    "summed_lengths": ("sglang:decode_sum_seq_lens",),
}
# With --enable-priority-scheduling each number of requests comes once in all and once for each priority.
IN_ALL = (*NAMES["running"], *NAMES["queued"])
WANTED = tuple(name for names in NAMES.values() for name in names)


async def load(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None) -> Load | None:
    """None where the server has no such page, or doesn't answer in time: a run doesn't depend on it."""
    timeout = aiohttp.ClientTimeout(total=READ_SECONDS)
    try:
        async with session.get(f"{url}/metrics", timeout=timeout, headers=headers, allow_redirects=True) as response:
            if response.status != 200:
                return None
            return parse(await response.text())
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
        return None


def together(loads: Sequence[Load | None]) -> Load | None:
    """Of several servers as if they were one, those that say something: sums, and the mean share of their memories."""
    known = [one for one in loads if one is not None]
    if len(known) <= 1:
        return known[0] if known else None
    total = Load(*(sum(values) for values in zip(*map(astuple, known), strict=True)))
    return replace(total, token_usage=total.token_usage / len(known))


def parse(page: str) -> Load | None:
    """Reads Prometheus's text format. None for a page without SGLang's counters."""
    values: dict[str, float] = {}
    wanted = "".join(line for line in page.splitlines(keepends=True) if line.startswith(WANTED))  # of a page of 100 kB
    try:
        for family in text_string_to_metric_families(wanted):
            for sample in family.samples:  # several labels: several workers
                if sample.name in IN_ALL and sample.labels.get("priority"):
                    continue
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
    except ValueError:
        return None
    if "sglang:num_running_reqs" not in values:
        return None
    return Load(**{field: next((values[n] for n in names if n in values), 0.0) for field, names in NAMES.items()})
