"""Pictures: the curves of simulations, the timeline of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

from ATTS.method.types import Stage

COLOURS = {Stage.DRAFT.value: "#4c78a8", Stage.SCORE.value: "#72b7b2", Stage.CONTINUE.value: "#e45756"}
WORDS = {Stage.DRAFT.value: "draft", Stage.SCORE.value: "score", Stage.CONTINUE.value: "continue"}
MOST_ROWS = 200  # samples in a timeline


def simulation(curves: dict[str, Any], folder: Path) -> list[Path]:
    """Two pictures, over samples and over turns. Returns their paths."""
    made = []
    for axis in ("samples", "turns"):
        points = curves[axis]
        values = [point["value"] for point in points]
        figure, panels = plt.subplots(1, 4, figsize=(13, 3))
        for panel, (key, title) in zip(
            panels,
            [
                ("seconds", "seconds"),
                ("tokens_per_second", "tokens a second"),
                ("waiting_share", "share of the time spent waiting"),
                ("most_kv_gigabytes", "KV memory at most, GB"),
            ],
            strict=True,
        ):
            for name in points[0][key]:
                panel.plot(values, [point[key][name] for point in points], marker="o", markersize=3, label=name)
            panel.set_xscale("log", base=2)
            panel.set_xticks(values, [str(value) for value in values])
            panel.set_title(title, fontsize=9)
            panel.set_xlabel(f"{axis} of a {'question' if axis == 'samples' else 'sample'}", fontsize=8)
            panel.tick_params(labelsize=7)
            if key != "waiting_share":
                panel.set_yscale("log")
        panels[0].legend(fontsize=7)
        figure.tight_layout()
        made.append(folder / f"simulation_{axis}.png")
        figure.savefig(made[-1], dpi=80)
        plt.close(figure)
    return made


def timeline(samples: Sequence[dict[str, Any]], path: Path) -> None:
    """Who did what when: a row a sample, in order of starting; light: waiting for a slot."""
    begun = sorted(samples, key=lambda sample: sample["started_at"])[:MOST_ROWS]
    first = begun[0]["started_at"]
    figure, panel = plt.subplots(figsize=(12, 0.4 + max(2.0, 0.045 * len(begun))))
    bars: dict[tuple[str, float], list[tuple[float, float, int]]] = {}
    for row, sample in enumerate(begun):
        start = sample["started_at"] - first
        for entry in sample["full_history"]:
            asked = start + entry["at"]
            bars.setdefault((entry["model"], 0.25), []).append((asked, entry["queued"], row))
            bars.setdefault((entry["model"], 1.0), []).append((asked + entry["queued"], entry["seconds"], row))
        for gone in sample["discarded"]:
            bars.setdefault(("discarded", 1.0), []).append((start + gone["at"], gone["seconds"], row))
    for (model, alpha), spans in bars.items():
        panel.barh(
            [row for *_, row in spans],
            [seconds for _, seconds, _ in spans],
            left=[at for at, *_ in spans],
            height=0.35 if model == "discarded" else 0.9,
            color=COLOURS.get(model, "#999999"),
            alpha=alpha,
            label=WORDS.get(model, model) if alpha == 1.0 else None,
        )
    panel.set_xlabel("seconds", fontsize=8)
    panel.set_ylabel("samples, in order of starting", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.invert_yaxis()
    panel.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
