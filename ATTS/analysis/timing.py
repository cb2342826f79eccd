"""Where the time of a run went, from its samples.

The paper's asynchronous arithmetic intensity is r = T_c / (T_m + T_s): computing time over memory
time plus synchronisation time. Over HTTP a server's memory time can't be told from its computing
time, so T_m is part of T_c here (the paper measures r ~ T_c / T_s as well):

    T_c  seconds that requests of the samples were at a server
    T_s  seconds that samples under way were not: waiting for a slot, for each other, for a retry
    r    T_c / T_s

Chunks drafted ahead overlap with scoring, so a sample's T_s is what is left of its wall time when
the time covered by any of its requests is taken away.
"""

from collections.abc import Iterable, Sequence

from ATTS.method.types import Stage
from ATTS.store.records import Record
from ATTS.store.summary import Timing


def timing(samples: Sequence[Record]) -> Timing | None:
    """Seconds by stage and by model, serving apart from queueing, and r. None for samples that don't say."""
    requests = [[entry for entry in sample["full_history"] if "at" in entry] for sample in samples]
    if not any(requests):
        return None
    stages: dict[str, dict[str, float]] = {}
    models = {"draft": 0.0, "target": 0.0}
    covered_seconds = waited = 0.0
    discarded: dict[str, float] = {"chunks": 0, "seconds": 0.0, "finished_tokens": 0}
    for sample, entries in zip(samples, requests, strict=True):
        spans = []
        for entry in entries:
            stage = Stage(entry["model"])
            spent = stages.setdefault(stage.name.lower(), {"serve_seconds": 0.0, "queue_seconds": 0.0})
            spent["serve_seconds"] += entry["seconds"]
            spent["queue_seconds"] += entry["queued"]
            models[stage.author or "target"] += entry["seconds"]
            spans.append((entry["at"] + entry["queued"], entry["at"] + entry["queued"] + entry["seconds"]))
        for gone in sample.get("discarded", ()):
            discarded["chunks"] += 1
            discarded["seconds"] += gone["seconds"]
            discarded["finished_tokens"] += gone["tokens"] or 0
        inside = covered(spans)
        covered_seconds += inside
        waited += max(0.0, sample["duration_seconds"] - inside)
    return {
        "by_stage": stages,
        "serve_seconds_by_model": models,
        "computing_seconds": covered_seconds,
        "synchronisation_seconds": waited,
        "asynchronous_arithmetic_intensity": covered_seconds / waited if waited else None,
        "discarded": discarded,
    }


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in at least one of the spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
