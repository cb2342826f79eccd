"""Pictures: the curves of simulations, the timeline of a run."""

from collections.abc import Sequence
from pathlib import Path

from ATTS.analysis import pictures
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.method.types import Stage
from ATTS.store.records import Record
from ATTS.store.result_folder import samples

COLOURS = dict(zip((Stage.DRAFT.value, Stage.CONTINUE.value, Stage.SCORE.value), pictures.COLOURS, strict=False))
COLOURS[Stage.DRAFT_DISCARDED.value] = pictures.COLOURS[3]
WORDS = {Stage.DRAFT.value: "draft", Stage.SCORE.value: "score", Stage.CONTINUE.value: "continue"}
WORDS[Stage.DRAFT_DISCARDED.value] = "draft, rejected and discarded"
MOST_ROWS = 200  # samples in a timeline
LABELS = {"questions": "questions, one sample each", "samples": "samples of a question", "turns": "turns of a sample"}


def timeline(samples: Sequence[Record], path: Path) -> None:
    """Who did what when: a row a sample, in order of starting; light: waiting for a slot."""
    begun = sorted(samples, key=lambda sample: sample["started_at"])[:MOST_ROWS]
    first = begun[0]["started_at"]
    bars: dict[tuple[str, float], list[tuple[float, float, int]]] = {}
    for row, sample in enumerate(begun):
        start = sample["started_at"] - first
        for entry in sample["full_history"]:
            sent = start + entry["at"]
            bars.setdefault((entry["model"], 0.25), []).append((sent, entry["queued"], row))
            bars.setdefault((entry["model"], 1.0), []).append((sent + entry["queued"], entry["seconds"], row))
        for gone in sample["discarded"]:
            bars.setdefault(("discarded", 1.0), []).append((start + gone["at"], gone["seconds"], row))
    with pictures.drawn(path, 12, 0.7 + max(2.0, 0.045 * len(begun))) as (figure, panel):
        for (model, alpha), spans in bars.items():
            panel.barh(
                [row for *_, row in spans],
                [seconds for _, seconds, _ in spans],
                left=[at for at, *_ in spans],
                height=0.35 if model == "discarded" else 0.9,
                color=COLOURS.get(model, pictures.FAINT),
                alpha=alpha,
                label=WORDS.get(model, model) if alpha == 1.0 else None,
            )
        panel.set(xlabel="seconds", ylabel="samples, in order of starting")
        panel.invert_yaxis()
        figure.legend(loc="outside upper left", ncols=5)


class TimelineSettings(Part):
    """Flags."""

    output_dir: Path
    """Result folder of a run."""

    picture: Path | None = None
    """Where the picture goes; default: timeline.png in the result folder."""


async def draw(settings: TimelineSettings) -> Path:
    """Returns the picture's path. Raises UserError."""
    timed = [sample for sample in samples(settings.output_dir) if "started_at" in sample]
    if not timed:
        raise UserError(
            f"{settings.output_dir} holds no samples that tell their times; run ref_async or baseline first"
        )
    path = settings.picture or settings.output_dir / "timeline.png"
    try:
        timeline(timed, path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error}") from None
    return path
