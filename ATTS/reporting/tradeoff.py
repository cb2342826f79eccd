"""The frontier and the certificates that folders hold, for the report's overview."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.analysis.pictures import FAINT, drawn, label, style
from ATTS.analysis.tables import percent
from ATTS.errors import UserError
from ATTS.reporting.charts import Chart
from ATTS.store import certificate
from ATTS.store.certificate import Certificate
from ATTS.store.result_folder import parsed


@dataclass(frozen=True)
class Tradeoff:
    """What was found in folders."""

    frontiers: list[Chart]
    certificates: list[tuple[str, Certificate]]  # with the file's name


def find(folder: Path, paths: Iterable[Path]) -> Tradeoff:
    """In ``paths`` and beside them: frontier.json, and certificates by any name. Pictures go into ``folder``."""
    places = dict.fromkeys(place for path in paths for place in (path, path.resolve().parent) if place.is_dir())
    frontiers: list[Chart] = []
    certificates: dict[Path, Certificate] = {}
    for place in places:
        content = parsed(place / "frontier.json")
        if isinstance(content, dict) and content.get("rows"):
            with contextlib.suppress(KeyError, TypeError):  # another program's file by that name
                frontiers.append(_frontier(folder, f"frontier_{len(frontiers)}.svg", content))
        for path in sorted(place.glob("*certificate*.json")):
            try:
                certificates.setdefault(path.resolve(), certificate.load(path))
            except UserError:
                continue  # another file by that name
    return Tradeoff(frontiers, [(path.name, found) for path, found in certificates.items()])


def _frontier(folder: Path, file: str, content: dict[str, Any]) -> Chart:
    rows = []
    with drawn(folder / file) as (_, panel):
        front = []
        for number, row in enumerate(content["rows"]):
            d = row["difference"] or {"mean": 0.0, "low": 0.0, "high": 0.0}
            mean, low, high, cost = 100 * d["mean"], 100 * d["low"], 100 * d["high"], 100 * row["target_tokens"]
            look = style(number) | {"linestyle": "none", "markersize": 5}
            panel.errorbar([cost], [mean], yerr=[[mean - low], [high - mean]], capsize=2, **look)
            panel.annotate(label("", row["run"]).strip(), (cost, mean), textcoords="offset points", xytext=(5, 3))
            if row["front_tokens"]:
                front.append((cost, mean))
            rows.append(
                (
                    row["run"],
                    percent(row["accuracy"]["mean"]),
                    f"{mean:+.1f} ({low:+.1f} - {high:+.1f})",
                    percent(row["target_tokens"]),
                    "yes" if row["front_tokens"] else "no",
                    {True: "yes", False: "no", None: "-"}[row["non_inferior"]],
                )
            )
        panel.plot(*zip(*sorted(front), strict=True), color=FAINT, linewidth=1, zorder=0)
        panel.axhspan(-100 * content["margin"], 0, color=FAINT, alpha=0.15)
        panel.set(xlabel="target's tokens, % of the target alone's", ylabel="points to the target (95 %)")
    columns = ("run", "accuracy", "difference (95 %)", "target's tokens", "on the front", "non-inferior")
    return Chart(file, "Frontier", "Accuracy to the target's against the target's tokens, a point a run", columns, rows)
