"""Draw who did what when in a run: one row a sample, one colour a stage, light where it waited for a slot.

python -m ATTS.timeline --output_dir results/NAME --picture timeline.png
"""

from dataclasses import dataclass
from pathlib import Path

from ATTS.problem import Problem
from ATTS.runs import cli
from ATTS.runs.store import samples


@dataclass(frozen=True, kw_only=True)
class TimelineSettings:
    """Flags."""

    output_dir: Path
    """Result folder of a run."""

    picture: Path | None = None
    """Where the picture goes; default: timeline.png in the result folder."""


async def draw(settings: TimelineSettings) -> Path:
    """Returns the picture's path. Raises Problem."""
    from ATTS.runs import pictures  # matplotlib takes a second that no mistyped flag should cost

    found = [sample for sample in samples(settings.output_dir) if "started_at" in sample]
    if not found:
        raise Problem(f"{settings.output_dir} holds no samples that tell their times; run ref_async or baseline first")
    path = settings.picture or settings.output_dir / "timeline.png"
    try:
        pictures.timeline(found, path)
    except OSError as error:
        raise Problem(f"{path} can't be written: {error}") from None
    return path


if __name__ == "__main__":
    cli.run(TimelineSettings, __doc__, draw)
