"""Pictures: runs can be told apart without colours, names are texts, and SVG suits light and dark pages."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ATTS.analysis import pictures


def test_twelve_runs_differ_by_more_than_their_colour() -> None:
    looks = [pictures.style(number) for number in range(12)]
    assert len({(look["color"], look["marker"]) for look in looks}) == 12
    for colour in pictures.COLOURS:
        alike = [(look["marker"], look["linestyle"]) for look in looks if look["color"] == colour]
        assert len(set(alike)) == len(alike) == 2
    assert len({look["marker"] for look in looks[:6]}) == 6


@pytest.mark.parametrize("name", ["_hidden", "$\\frac{$", "<script>alert(1)</script>--><b>", "漢字 ﷽", "x" * 500])
def test_any_name_is_a_label(name: str, tmp_path: Path) -> None:
    with pictures.drawn(tmp_path / "a.svg") as (figure, panel):
        panel.plot([1, 2], [3, 4], label=pictures.label("A", name))
        pictures.legend(figure)
    root = ET.parse(tmp_path / "a.svg").getroot()  # noqa: S314 - our own drawing
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert pictures.label("A", name) in [" ".join(text.split()).replace("A ", "A  ", 1) for text in texts]
    (style,) = (node.text or "" for node in root if node.tag.endswith("style"))
    assert "prefers-color-scheme:dark" in style


def test_the_same_drawing_gives_the_same_file_and_other_formats_have_a_background(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "c.png"):
        with pictures.drawn(tmp_path / name, columns=2) as (_, (left, right)):
            left.plot([1, 2], [3, 4])
            right.bar([1, 2], [3, 4])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
