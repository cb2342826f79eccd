"""The style of pictures: colours that the colour-blind can tell apart, and SVG that suits light and dark pages."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

INK = "#1f2428"  # text, axes
FAINT = "#8a8f96"  # grids, what is only there for comparison
DARK = {INK: "#e6e8eb", FAINT: "#8a8f96"}
# Okabe and Ito's colours for the colour-blind, blue and black made lighter, so that they stand on dark pages too.
COLOURS = ("#2f81c7", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
RC: dict[str, Any] = {
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ATTS",  # the same figure gives the same file
    "text.parse_math": False,  # names of runs are no formulas
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.transparent": True,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": INK for part in ("label", "edge", "title")},
}


def style(number: int) -> dict[str, Any]:
    """How the line of the run ``number`` looks: colour, marker and dashes all tell it, and no two of 12 are alike."""
    turn = number + number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[turn % len(MARKERS)],
        "linestyle": LINES[turn % len(LINES)],
        "markersize": 4,
    }


def band(panel: Any, at: Sequence[float], bounds: Iterable[Sequence[float] | None], number: int) -> None:
    """The intervals of a line of the run ``number``, shares shown in percent; nothing where one is not known."""
    known = [pair for pair in bounds if pair is not None]
    if len(known) == len(at):
        low, high = ([100 * pair[end] for pair in known] for end in (0, 1))
        panel.fill_between(at, low, high, color=style(number)["color"], alpha=0.12, linewidth=0)


def label(letter: str, name: str) -> str:
    """A run in a legend: its letter first, and no character that a font may lack."""
    plain = name.encode("ascii", "replace").decode()
    return f"{letter}  {plain if len(plain) <= 28 else plain[:25] + '...'}"


def legend(figure: Any) -> None:
    """Above the panel: where there is room inside takes a search, and covers what is drawn later."""
    figure.legend(loc="outside upper left", ncols=2)


@contextmanager
def drawn(
    path: Path, width: float = 4.6, height: float = 3.0, rows: int = 1, columns: int = 1, **more: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure with its panel, or an array of panels, in inches; written to ``path`` (.svg, .png, .pdf) at the end.
    Raises OSError."""
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.figure import Figure  # takes a second to import

    looks = [style(number) for number in range(12)]
    cycle = cycler(**{name: [look[name] for look in looks] for name in looks[0]})
    with mpl.rc_context({**RC, "axes.prop_cycle": cycle}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, **more)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".svg":
            figure.savefig(path, dpi=110, transparent=False)
            return
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        path.write_text(_themed(text.getvalue()), encoding="utf-8")


def _themed(svg: str) -> str:
    """The same drawing, light where the reader's system is dark."""
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in DARK.items()
        for name in ("stroke", "fill")
    )
    text = f"text{{fill:{INK}}}"
    dark = f"@media(prefers-color-scheme:dark){{text{{fill:{DARK[INK]}}}{rules}}}"
    return re.sub(r"(<svg [^>]*>)", rf"\1<style>{text}{dark}</style>", svg, count=1)
