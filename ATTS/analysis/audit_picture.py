"""The audit's picture: the realised rejection rate by turn and by question beside the one that was asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ATTS.analysis import pictures


def draw(result: Mapping[str, Any], path: Path) -> None:
    """``result``: as :func:`ATTS.analysis.audit_rate.report` returns it. Raises OSError."""
    panels = (("turn", "by_turn", 1), ("questions, by their rate", "by_question", 0))
    with pictures.drawn(path, 10, 4, columns=2, sharey=True) as (figure, axes):
        for panel, (label, name, first) in zip(axes, panels, strict=True):
            rows = result[name] if first else sorted(result[name], key=lambda row: row["rate"])
            places = [row["turn"] + first if first else place for place, row in enumerate(rows)]
            rate = [100 * row["rate"] for row in rows]
            ends = [
                [100 * (row["rate"] - row["low"]) for row in rows],
                [100 * (row["high"] - row["rate"]) for row in rows],
            ]
            look = pictures.style(0) | {"linestyle": "none"}
            panel.errorbar(places, rate, yerr=ends, capsize=2, label="realised (95 %)", **look)
            panel.axhline(100 * result["nominal"], color=pictures.COLOURS[1], linestyle="--", label="asked")
            panel.set(xlabel=label, ylim=(0, 100))
        axes[0].set_ylabel(f"rejected, % ({result['calibration']})")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
