"""What stands in a report: the numbers of the folders, and texts that are nothing but texts. Without a browser."""

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hostile
import made_run
import pytest
import sums
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis.folders import Truth
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.reporting import runs as reported
from ATTS.reporting.build import ReportSettings, report
from ATTS.reporting.pieces import script_json
from ATTS.reporting.samples import chunks
from ATTS.store import result_folder

TEXT = st.text(st.characters(exclude_categories=()), max_size=50)


def build(*folders: Path, output: Path, **more: Any) -> Path:
    return asyncio.run(report(make(ReportSettings, runs=folders, output=output, **more))).parent


def calls(path: Path) -> list[tuple[str, Any]]:
    """The calls in a file of data."""
    lines = path.read_text().splitlines()
    found = [re.fullmatch(r"ATTS\.(\w+)\((.*)\);", line) for line in lines]
    assert all(found)
    return [(one[1], json.loads(one[2])) for one in found if one]


@given(st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_data_is_ascii_without_markup_and_means_the_same(value: Any) -> None:
    text = script_json(value)
    assert text.isascii()
    assert not set(text) & set("<>&\n\r")
    assert json.loads(text) == value


def test_a_number_that_json_lacks_is_no_data() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json([float("nan")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run.write(tmp_path_factory.mktemp("runs") / "one", 12, 4)


def test_chunks_are_the_chain_and_every_score_is_at_its_chunk(folder: Path) -> None:
    for sample in result_folder.samples(folder):
        found = chunks(sample["full_history"])
        assert "".join(c["x"] for c in found) == "".join(e.get("output", "") for e in sample["full_history"])
        scored = [e for e in sample["full_history"] if e["model"] == "eval_ppl"]
        assert [c["score"]["v"] for c in found if "score" in c] == [e["ppl"] for e in scored]
        assert all(c["by"] == "draft" for c in found if "score" in c)
        assert [c["score"]["rej"] for c in found if "score" in c] == [e["rejected"] for e in scored]


def test_discarded_and_unknown_entries_are_shown_as_what_they_are() -> None:
    found = chunks(
        [
            {"turn": 0, "model": "small_discarded", "discarded": "bad", "tokens": 2},
            {"turn": 0, "model": "eval_ppl", "ppl": float("inf"), "rejected": True},
            {"turn": 0, "model": "eval_generate", "output": "good"},
            {"turn": 1, "model": "inserted", "output": "wait"},
            {"turn": 1, "model": "", "output": "whose?"},
            {"turn": 2, "model": "eval_score", "score": 7.0, "accepted": True},
            {"turn": 3, "model": "eval_ppl", "ppl": 1.5, "percentile": 0.5},
        ]
    )
    assert [(c["by"], c.get("gone", False), c.get("kind")) for c in found] == [
        *(("draft", True, None), ("target", False, None), (None, False, "inserted"), (None, False, "text")),
        (None, False, None),
    ]
    assert found[0]["score"] == {"name": "ppl", "v": None, "pc": None, "rej": True}
    assert found[3]["score"] == {"name": "grade", "v": 7.0, "rej": False}
    assert found[4]["score"]["pc"] == 0.5


def test_the_data_are_the_samples_and_their_grades(folder: Path, tmp_path: Path) -> None:
    site = build(folder, output=tmp_path / "report")
    ((name, index),) = calls(site / "data/index.js")
    assert name == "index"
    summary = result_folder.read_summary(folder)
    assert len(index["questions"]) == summary["questions"]
    states = "".join(question["runs"]["0"]["v"] for question in index["questions"])
    assert states.count("r") / len(states) == summary["mean_accuracy"]
    assert states.count("u") == summary["unanswered"]
    for place, row in enumerate(summary["per_question"]):
        assert index["questions"][place]["runs"]["0"]["v"].count("r") == row["right"]
        ((_, (run, question, about, samples)),) = calls(site / f"data/r0/q{place}.js")
        assert (run, question, about["reference"]) == (0, place, row["reference"])
        assert [sample["i"] for sample in samples] == index["questions"][place]["runs"]["0"]["n"]
    stored = {s["problem_index"]: s for s in result_folder.samples(folder)}
    pieces = [s for file in (site / "data/r0").iterdir() for _, (*_, samples) in calls(file) for s in samples]
    assert {s["i"]: s["a"] for s in pieces} == {i: s["final_answer"] for i, s in stored.items()}


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(folder: Path, tmp_path: Path) -> None:
    going = made_run.write(tmp_path / "going", 3, 2, summary=False)
    (run,) = reported.read([going], Truth())
    assert (run.row["samples"], run.row["mean_accuracy"]) == (6, run.states.count("r") / 6)
    site = build(folder, going, output=tmp_path / "report")
    assert len(list((site / "data/r1").iterdir())) == 3


def test_watch_writes_it_again_until_the_run_is_finished(tmp_path: Path) -> None:
    going, page = made_run.write(tmp_path / "going", 1, 2, summary=False), tmp_path / "report/index.html"

    async def main() -> None:
        flags = make(ReportSettings, runs=(going,), output=tmp_path / "report", watch=True, every=1)
        watching = asyncio.create_task(report(flags))
        while not page.exists():  # noqa: ASYNC110 - the file tells, no event does
            await asyncio.sleep(0.05)
        assert '<meta http-equiv="refresh" content="1">' in page.read_text()
        await asyncio.to_thread(made_run.write, going, 3, 2)
        assert await watching == page

    asyncio.run(main())
    assert "refresh" not in page.read_text()
    ((_, index),) = calls(tmp_path / "report/data/index.js")
    assert len(index["questions"]) == 3


def test_runs_of_other_questions_stand_beside_each_other_without_a_difference(folder: Path, tmp_path: Path) -> None:
    other = made_run.write(tmp_path / "other", 3, 2, text=lambda _, plain: f"Tell me: {plain}")
    site = build(folder, other, output=tmp_path / "report")
    ((_, index),) = calls(site / "data/index.js")
    assert len(index["questions"]) == 15
    assert [list(question["runs"]) for question in index["questions"]] == [["0"]] * 12 + [["1"]] * 3


class Tags(HTMLParser):
    """The tags of a page, their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


KNOWN = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "body",
        "header",
        "nav",
        "a",
        "main",
        "h1",
        "h2",
        "p",
        "b",
        "div",
        "section",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "span", "code", "figure", "figcaption", "img", "details", "summary"),
    *("footer", "form", "label", "select", "option", "input", "button", "kbd", "script"),
}


def test_names_and_settings_of_runs_are_texts_in_every_page(tmp_path: Path) -> None:
    names = [text.encode(errors="replace").decode().translate({0: "0", 47: "|"})[:80] for text in hostile.TEXTS[:15]]
    runs = [made_run.write(tmp_path / name, 1, 1, text=hostile.text, summary=False) for name in names]
    for run, text in zip(runs, hostile.TEXTS, strict=False):
        settings = json.loads((run / "settings.json").read_text())
        settings["decisive"][text] = text
        made_run.put(run / "settings.json", settings)
    site = build(*runs, output=tmp_path / "report")
    pages = sorted(site.glob("*.html"))
    assert len(pages) == 3
    for page in pages:
        tags = Tags()
        tags.feed(page.read_text())
        assert {tag for tag, _ in tags.tags} <= KNOWN
        for tag, attributes in tags.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert re.match(r"(static|data)/[\w./-]+$", attributes["src"] or "") if tag == "script" else True
            assert not re.match(r"(?i)\s*(javascript|data|https?):", attributes.get("href") or "")
        (policy,) = (a["content"] for _, a in tags.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert "default-src 'none'" in policy
        assert not re.search(r"unsafe|\*|https?:|data:", policy)
    overview = Tags()
    overview.feed((site / "index.html").read_text())
    for text in (*names[:13], *hostile.TEXTS[:12]):  # those without line ends, which a page joins
        assert text in overview.text
    for file in (site / "data").rglob("*.js"):
        assert not set(file.read_text()) & set("<>&")
    for drawing in (site / "pictures").glob("*.svg"):
        tags = Tags()
        tags.feed(drawing.read_text())
        assert not {tag for tag, _ in tags.tags} & {"script", "img", "image", "iframe", "foreignobject", "a", "b"}
        assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]


def test_only_a_report_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.html").write_text("my own page")
    with pytest.raises(UserError, match="holds something else than a report"):
        build(folder, output=tmp_path / "mine")
    site = build(folder, output=tmp_path / "report")
    build(made_run.write(tmp_path / "small", 1, 1), output=tmp_path / "report")
    assert [file.name for file in (site / "data").rglob("q*.js")] == ["q0.js"]


def test_a_folder_of_runs_is_shown_with_its_frontier_and_certificate(tmp_path: Path) -> None:
    (made := tmp_path / "runs").mkdir()
    sums.make(made, 40, (0.5,))
    done = door("frontier_report", str(made), "--json", cwd=tmp_path)
    (made / "frontier.json").write_text(done.stdout)
    done = door("certify", str(made), "--max_loss", "0.3", "--output", str(made / "certificate.json"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = door("report", str(made), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "report/index.html"
    text = (tmp_path / "report/index.html").read_text()
    names = re.findall(r"<b>([A-Z])</b> (\S+)</a>", text)
    assert names == [("A", "target"), ("B", "draft"), ("C", "atts_0.5")]
    assert "Certificate certificate.json" in text
    assert "pictures/frontier_0.svg" in text
    assert (tmp_path / "report/pictures/scores_2.svg").read_text().count("calibration") >= 1


def test_what_is_no_run_is_an_error_for_people(tmp_path: Path) -> None:
    done = door("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: nowhere is neither a result folder nor a recording"
