"""What scripts/gpu_check.sh found, as a table and JSON: python scripts/figures/gpu_check.py results/gpu_check

Reads the run folders target, atts, atts_resample and speculative (where there are any) and agreement.json. With
--simulated_draft and --simulated_target, the same chains are played on those devices by the simulator: the prediction
stands beside the measurement. The simulator gives each server a device of its own, also where both shared one here.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpu_replay

from ATTS import console
from ATTS.analysis.tables import markdown, percent
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.store import result_folder
from ATTS.store.summary import Summary

ALONE = ("target", "speculative")  # one model, on the target's server
RUNS = {
    "target": "the target alone",
    "speculative": "the target alone, the engine's own speculation",
    "atts": "ATTS, continues behind a rejected chunk",
    "atts_resample": "ATTS, replaces it",
}


class CheckSettings(Part):
    """Flags of this program."""

    folder: Path = Path("results/gpu_check")
    """Where the runs are."""

    simulated_draft: str | None = None
    """The draft's device, as MODEL:DEVICExGPUS, such as 1.5B:L4."""

    simulated_target: str | None = None
    """The target's, such as 7B:L4."""

    limits: tuple[int, int] = (16, 16)
    """Requests in flight at draft and target that the runs had."""

    missing: str = ""
    """Why runs are missing, for the table."""


@dataclass(frozen=True)
class Row:
    """One run. Shares are of 1."""

    name: str
    samples: int
    wall_seconds: float
    tokens_per_second: float  # of both models, discarded ones included
    written: dict[str, int]
    rejection_rate: float | None
    cached: dict[str, float]  # of the prompt tokens of each stage
    forgotten: dict[str, float | None]
    page_tokens: int
    simulated: float | None


def row(name: str, folder: Path, summary: Summary, settings: CheckSettings) -> Row:
    """A run's figures. Raises UserError where it isn't finished or can't be simulated."""
    if summary["owed"] or summary["samples_in_wall_seconds"] != summary["samples"]:
        raise UserError(
            f"{folder} was interrupted, so its seconds are not those of its samples: delete it and run anew"
        )
    written = dict(summary["written_tokens"] or {})
    total = sum(written.values())
    stages, servers = summary["stages"] or {}, summary["servers"]
    simulated = None
    if settings.simulated_draft and settings.simulated_target and name != "speculative":
        devices = settings.simulated_draft, settings.simulated_target
        simulated = gpu_replay.predicted(folder, *devices, settings.limits, alone=name in ALONE)
    return Row(
        name=name,
        samples=summary["samples"],
        wall_seconds=summary["wall_seconds"],
        tokens_per_second=total / summary["wall_seconds"],
        written=written,
        rejection_rate=summary["rejection_rate"],
        cached={
            stage: used["cached_tokens"] / used["prompt_tokens"]
            for stage, used in stages.items()
            if used["prompt_tokens"]
        },
        forgotten={role: told["forgotten"] for role, told in servers.items()},
        page_tokens=max((told.get("page_tokens", 1) for told in servers.values()), default=1),
        simulated=simulated,
    )


def rows(settings: CheckSettings) -> Iterator[Row]:
    """The runs that are there."""
    for name in RUNS:
        folder = settings.folder / name
        if (folder / "summary.json").is_file():
            yield row(name, folder, result_folder.read_summary(folder), settings)


def runs_table(found: list[Row]) -> str:
    """Speed and caches."""
    columns = ["run", "tokens/s", "simulated", "wall s", "draft tokens", "target tokens", "rejected"]
    columns += ["cached: draft", "score", "continue"]
    table = []
    for one in found:
        draft = one.written.get("draft", 0)
        both = (0, draft + one.written.get("target", 0)) if one.name in ALONE else (draft, one.written.get("target", 0))
        shares = [
            percent(one.cached[stage]) if stage in one.cached else "-" for stage in ("draft", "score", "continue")
        ]
        table.append(
            (
                RUNS[one.name],
                f"{one.tokens_per_second:,.0f}",
                f"{one.simulated:,.0f}" if one.simulated else "-",
                f"{one.wall_seconds:.1f}",
                *(f"{tokens:,}" for tokens in both),
                percent(one.rejection_rate),
                *shares,
            )
        )
    return markdown(columns, table)


def agreement_tables(told: dict[str, Any]) -> str:
    """Batches against single requests, and the server against transformers."""
    columns = (
        "chunks scored at once",
        "seconds",
        "same decisions",
        "log-probability off by at most",
        "score by at most",
    )
    batches = [
        (
            b["size"],
            f"{b['seconds']:.2f}",
            percent(b["same_decisions"]),
            f"{b['logprob_most']:.2g}",
            percent(b["score_most"]),
        )
        for b in told["batches"]
    ]
    parts = [markdown(columns, batches)]
    found = told["reference"]
    if found:
        parts.append(
            f"transformers in {found['dtype']}, {found['tokens']} tokens one by one: log-probabilities differ by"
            f" {found['mean']:.2g} on the average and by {found['most']:.2g} at most, scores by at most"
            f" {percent(found['score_most'])}."
        )
    else:
        why = "the weights are random" if told["random_weights"] else "not asked for"
        parts.append(f"Not compared with transformers: {why}.")
    return "\n\n".join(parts)


async def check(settings: CheckSettings) -> str:
    """The report; writes gpu_check.md and gpu_check.json. Raises UserError."""
    found = await asyncio.to_thread(lambda: list(rows(settings)))  # a simulation has an event loop of its own
    if not found:
        raise UserError(f"{settings.folder} holds no finished run: bash scripts/gpu_check.sh")
    told: dict[str, Any] | None = None
    if (settings.folder / "agreement.json").is_file():
        told = json.loads((settings.folder / "agreement.json").read_bytes())
    parts = [runs_table(found)]
    if pages := {one.page_tokens for one in found} - {1}:
        parts.append(
            f"The prefix cache keeps pages of {max(pages)} tokens: the end of a prompt that fills none is not cached."
        )
    if settings.missing:
        parts.append(settings.missing)
    if told:
        parts.append(agreement_tables(told))
    text = "\n\n".join(parts) + "\n"
    (settings.folder / "gpu_check.md").write_text(text)
    figures = {"runs": [asdict(one) for one in found], "agreement": told, "settings": {
        "simulated": [settings.simulated_draft, settings.simulated_target], "limits": settings.limits}}  # fmt: skip
    (settings.folder / "gpu_check.json").write_text(json.dumps(figures, indent=1) + "\n")
    return text


if __name__ == "__main__":
    console.run(CheckSettings, __doc__, check)
