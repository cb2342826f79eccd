"""Reports in a real browser without a display: opened from the disk, driven by keys, read back from the page.

Needs Chromium (Debian: apt install chromium, or $CHROMIUM) and playwright (requirements-test.lock); skipped where one
is missing. $REPORT_SCREENSHOTS: a folder for pictures of the pages. $REPORT_SAMPLES: of the largest report.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import made_run
import pytest
import sums

from ATTS.analysis import folders
from ATTS.analysis.accuracy import accuracy
from ATTS.analysis.compare import rows
from ATTS.analysis.grading import by_math
from ATTS.analysis.metrics import rejections, work
from ATTS.flags import make
from ATTS.reporting.build import ReportSettings, report
from ATTS.store import result_folder

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-test.lock)")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt install chromium, or set $CHROMIUM)")
SAMPLES = int(os.environ.get("REPORT_SAMPLES", "3400")) // 16 * 16
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page of a report, and all that went wrong in it: messages of its console, requests to anything but files."""

    def __init__(self, browser: Any, site: Path, size: str = "wide", scheme: str = "light") -> None:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.site, self.page = site, context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(self.site.as_uri()):
            self.wrong.append(f"request of {url}")

    def open(self, page: str, **place: object) -> Any:
        mark = "&".join(f"{name}={value}" for name, value in place.items())
        self.page.goto("about:blank")
        self.page.goto(f"{(self.site / page).as_uri()}#{mark}")
        if page == "transcript.html":
            self.page.wait_for_selector("body[data-shown]")
        return self.page

    def press(self, key: str) -> str:
        """Returns which question, run and sample is shown then."""
        before = self.page.evaluate("document.body.dataset.shown")
        self.page.keyboard.press(key)
        self.page.wait_for_function("before => document.body.dataset.shown !== before", arg=before)
        return str(self.page.evaluate("document.body.dataset.shown"))

    def keep(self, name: str) -> None:
        if folder := os.environ.get("REPORT_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def check(self) -> None:
        assert self.wrong == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
        assert self.page.evaluate("window.taken === undefined")


def aside(work: Callable[..., Any], *arguments: Any) -> Any:
    """In a thread: playwright keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *arguments).result()


def build(*folders: Path, output: Path, **more: Any) -> Path:
    index: Path = aside(asyncio.run, report(make(ReportSettings, runs=folders, output=output, **more)))
    return index.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (runs := folder / "runs").mkdir()
    aside(sums.make, runs, 20, (0.5, 0.1))
    return build(runs / "target", runs / "atts_0.5", runs / "atts_0.1", output=folder / "report")


def test_the_numbers_of_the_overview_are_those_of_the_summaries(chromium: Any, site: Path) -> None:
    page = Page(chromium, site)
    shown = page.open("index.html")
    folders = [site.parent / "runs" / name for name in ("target", "atts_0.5", "atts_0.1")]
    compared = rows(folders, None, None, None)
    assert shown.locator("#runs tbody tr").count() == 3
    for number, folder in enumerate(folders):
        summary = result_folder.read_summary(folder)
        line = shown.locator(f"#runs tr[data-run='{number}']")

        def value(name: str, line: Any = line) -> str:
            return str(line.locator(f"[data-name={name}]").get_attribute("data-value"))

        assert folder.name in line.locator("th").inner_text()
        assert float(value("mean_accuracy")) == summary["mean_accuracy"]
        assert (
            f"{100 * (summary['mean_accuracy'] or 0):.1f} %" in line.locator("[data-name=mean_accuracy]").inner_text()
        )
        assert float(value("wall_seconds")) == summary["wall_seconds"]
        assert int(value("samples")) == summary["samples"]
        written = summary["written_tokens"]
        assert written is not None
        assert int(value("target_tokens")) + int(value("draft_tokens")) == sum(written.values())
        if number:
            assert float(value("rejection_rate")) == summary["rejection_rate"]
            difference = compared[number]["against_first"]["accuracy"]["difference"]
            assert f"{100 * difference:+.1f} (" in line.inner_text()
    for picture in shown.locator("figure img").all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    shown.locator("figure summary").first.click()
    assert shown.locator("figure table").first.is_visible()
    page.keep("overview")
    page.check()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_every_control_says_what_it_does(size: str, scheme: str, chromium: Any, site: Path) -> None:
    page = Page(chromium, site, size, scheme)
    for name, place in (("index.html", {}), ("questions.html", {}), ("transcript.html", {"beside": "1.0"})):
        shown = page.open(name, **place)
        for control in shown.locator("button, select, input, summary, nav a").all():
            assert control.get_attribute("title")
        page.keep(f"{name.partition('.')[0]}_{size}_{scheme}")
        page.check()
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(", "))) < 200) == (scheme == "dark")


def test_the_grid_shows_sorts_and_filters_the_samples(chromium: Any, site: Path) -> None:
    page = Page(chromium, site)
    shown = page.open("questions.html")
    summary = result_folder.read_summary(site.parent / "runs/atts_0.1")
    right = sum(row["right"] for row in summary["per_question"])
    wrong = summary["samples"] - right
    assert wrong > 0
    shown.select_option("select[name=run]", "2")
    assert shown.locator("#grid .cell.r").count() == right
    assert shown.locator("#grid .cell.w").count() == wrong
    assert shown.locator("#grid .cell.w").first.inner_text() == "✗"
    shown.select_option("select[name=sort]", "low")
    shares = [text.partition(" ")[0] for text in shown.locator("#grid .share").all_inner_texts()]
    assert list(map(int, shares)) == sorted(map(int, shares))
    shown.select_option("select[name=state]", "w")
    assert shown.locator("#grid .question").count() == sum(
        row["right"] < row["samples"] for row in summary["per_question"]
    )
    first = shown.locator("#grid .excerpt").first.inner_text().partition(" ")[2]
    shown.fill("input[name=text]", first)
    assert shown.locator("#count").inner_text() == "1 of 15 questions"
    shown.reload()  # the address holds all of it
    assert shown.locator("#count").inner_text() == "1 of 15 questions"
    shown.locator("#grid .cell.w").first.click()
    shown.wait_for_selector("body[data-shown]")
    assert shown.locator("#text").inner_text() == first
    assert shown.locator(".facts .state").inner_text().strip() == "wrong"
    page.check()


def test_a_transcript_is_the_sample_chunk_by_chunk(chromium: Any, site: Path) -> None:
    page = Page(chromium, site)
    folder = site.parent / "runs/atts_0.5"
    for sample in list(result_folder.samples(folder))[:6]:
        place = sorted({s["question_index"] for s in result_folder.samples(folder)}).index(sample["question_index"])
        shown = page.open("transcript.html", q=place, r=1, s=sample["repeat"])
        assert shown.locator("#text").inner_text() == sample["question"]
        assert shown.locator("#reference").inner_text() == sample["reference_answer"]
        assert f"answer {sample['final_answer']}" in shown.locator(".facts").inner_text()
        assert set(shown.locator(".who").all_inner_texts()) <= {"DRAFT", "TARGET"}
        texts = [entry["output"] for entry in sample["full_history"] if "output" in entry]
        assert shown.locator(".chunk .text").all_text_contents() == texts
        decided = [entry for entry in sample["full_history"] if entry["model"] == "eval_ppl"]
        told = shown.locator(".decision").all_inner_texts()
        assert len(told) == len(decided)
        for text, entry in zip(told, decided, strict=True):
            assert ("✗ rejected" in text) == entry["rejected"]
            assert f"ppl {entry['ppl']:.3f}, percentile {100 * entry['percentile']:.1f} (rejected from 50.0)" in text
    shown = page.open("transcript.html")
    assert shown.locator(".who").all_inner_texts() == ["TARGET"]  # a run of the target alone
    page.check()


def test_keys_go_through_samples_wrong_ones_and_chunks(chromium: Any, site: Path) -> None:
    page = Page(chromium, site)
    shown = page.open("transcript.html", r=2)
    states = shown.evaluate("ATTS.data.questions.map(question => question.runs[2].v)")
    order = [(q, s) for q, row in enumerate(states) for s in range(len(row))]
    assert page.press("j") == "0.2.1"
    assert page.press("j") == "1.2.0"
    assert page.press("k") == "0.2.1"
    wrong = [(q, s) for q, s in order if states[q][s] != "r"]
    for q, s in [place for place in wrong if place > (0, 1)][:3]:
        assert page.press("w") == f"{q}.2.{s}"
    shown.keyboard.press("n")
    assert shown.locator(".chunk.here .head a").inner_text() == "#1"
    shown.keyboard.press("n")
    assert shown.locator(".chunk.here .head a").inner_text() == "#2"
    address = shown.url
    shown.goto("about:blank")
    shown.goto(address)  # a link to a chunk
    shown.wait_for_selector(".chunk.here")
    assert shown.locator(".chunk.here .head a").inner_text() == "#2"
    shown.select_option("#beside", "1.0")
    shown.wait_for_selector("#columns.two")
    assert "atts_0.5" in shown.locator(".sample h2").all_inner_texts()[1]
    assert shown.locator(".sample").count() == 2
    page.check()


def test_a_published_recording_is_shown_with_its_mathematics(
    chromium: Any, traces: Path, hub: Path, tmp_path: Path
) -> None:
    recording = next(iter(sorted(traces.glob("traces_math500_ct1.jsonl.gz"))))
    built = build(recording, output=tmp_path / "report", dataset_name="math500", data_dir=hub)
    page = Page(chromium, built)
    shown = page.open("transcript.html")
    places = shown.evaluate("ATTS.data.questions.flatMap((q, i) => q.text.includes('$') ? [i] : []).slice(0, 8)")
    drawn = 0
    for place in places:
        shown = page.open("transcript.html", q=place)
        drawn += shown.locator("#text math").count() > 0
        shown.keyboard.press("m")
    assert drawn >= len(places) - 1  # one may hold a sum of money
    page.keep("mathematics")
    shown = page.open("index.html")
    published = folders.load(recording, "math500", None, hub)
    told = accuracy(by_math(published.samples, published.references, published.repeats), published.repeats)
    right = shown.locator("#runs [data-name=mean_accuracy]")
    assert float(str(right.get_attribute("data-value"))) == told["mean_accuracy"]
    assert shown.locator("#runs [data-name=samples]").inner_text() == str(len(published.samples))
    rejected = shown.locator("#runs [data-name=rejection_rate]")
    assert float(str(rejected.get_attribute("data-value"))) == work(published.samples)["rejection_rate"]
    shown = page.open("transcript.html", q=3)  # published samples don't say it: the target wrote behind the chunk
    decided = [text.split()[1] for text in shown.locator(".decision").all_inner_texts()]
    (sample,) = (s for s in folders.read(recording) if s["problem_index"] == 48)
    assert decided == ["rejected" if it else "accepted" for it in rejections(sample["full_history"])]
    assert set(decided) == {"rejected", "accepted"}
    page.check()


def test_a_report_of_many_samples_shows_them_all(chromium: Any, tmp_path: Path) -> None:
    """Their numbers, the last one of them, and the way there by keys."""
    folder = made_run.write(tmp_path / "run", SAMPLES // 16, 16, turns=2, words=3)
    page = Page(chromium, build(folder, output=tmp_path / "report"))
    shown = page.open("index.html")
    summary = result_folder.read_summary(folder)
    for name in ("mean_accuracy", "samples", "rejection_rate"):
        value = shown.locator(f"#runs [data-name={name}]").get_attribute("data-value")
        assert float(str(value)) == summary[name]  # type: ignore[literal-required]
    shown = page.open("questions.html")
    assert shown.locator("#count").inner_text() == f"{SAMPLES // 16} of {SAMPLES // 16} questions"
    right = 0
    while True:
        right += shown.locator("#grid .cell.r").count()
        if SAMPLES > 5000 or shown.locator("#after").is_disabled():  # of as many pages as take no minutes
            break
        before = shown.locator("#page").inner_text()
        shown.keyboard.press("n")
        shown.wait_for_function("before => document.getElementById('page').textContent !== before", arg=before)
    pages = summary["per_question"][: shown.locator("#grid .question").count()] if SAMPLES > 5000 else None
    assert right == sum(row["right"] for row in pages or summary["per_question"])
    shown = page.open("transcript.html", q=SAMPLES // 16 - 1, s=14)
    assert page.press("j") == f"{SAMPLES // 16 - 1}.0.15"
    last = result_folder.parsed(folder / f"problem_{SAMPLES - 1:04d}.json")
    assert shown.locator(".chunk .text").all_text_contents() == [
        e["output"] for e in last["full_history"] if "output" in e
    ]
    page.check()


def test_hostile_texts_stay_texts(chromium: Any, tmp_path: Path) -> None:
    """In questions, chunks, answers and references: exactly the text is there, and nothing came of it."""
    folder = made_run.write(
        tmp_path / "<b onclick=taken=1>run", len(hostile.TEXTS), 1, turns=2, words=3, text=hostile.text
    )
    for path in result_folder.paths(folder):
        sample = result_folder.parsed(path)
        text = hostile.TEXTS[sample["problem_index"]]
        made_run.put(
            path, sample | {"final_answer": text, "reference_answer": text, "reason": text, "exit_status": text}
        )
    page = Page(chromium, build(folder, output=tmp_path / "report"))
    page.open("index.html")
    page.check()
    shown = page.open("questions.html")
    assert shown.locator("#grid .question").count() == len(hostile.TEXTS)
    for place, text in enumerate(hostile.TEXTS):
        shown = page.open("transcript.html", q=place)
        (first, *_) = shown.locator(".chunk .text").all_text_contents()
        assert first.replace("\r\n", "\n").startswith(text.replace("\r\n", "\n"))
        shown.keyboard.press("m")
        assert (
            shown.locator(
                "#columns script, #columns iframe, #columns img, #columns a:not([title]), meta[http-equiv=refresh]"
            ).count()
            == 0
        )
        assert shown.locator("#asked :is(script, iframe, img, a, style, link, base)").count() == 0
        page.check()
