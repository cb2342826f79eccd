"""The figures of docs/REPORT.md: how long reports of made-up folders take to write and to open, and in how much memory.

python scripts/figures/report.py [--samples 3400 34000] [--folder FOLDER]
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

import made_run

REPEATS = 16
TURNS, WORDS = 8, 190  # about 9 kB a sample, as 34,000 samples in 300 MB have


def size(folder: Path) -> float:
    """In MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def build(folder: Path, site: Path) -> tuple[float, float, float]:
    """Seconds of the command, of a core, and the most memory that it had, in MB."""
    before = time.monotonic()
    command = list(map(str, (sys.executable, "-m", "ATTS.report", folder, "--output", site)))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as it:  # noqa: S603
        _, status, used = os.wait4(it.pid, 0)
        it.returncode = os.waitstatus_to_exitcode(status)
    if it.returncode:
        sys.exit(it.returncode)
    assert isinstance(used, resource.struct_rusage)
    return time.monotonic() - before, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def opened(site: Path) -> dict[str, float] | None:
    """Seconds from asking for a page to its content, in Chromium; None where there is none."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    ready = {
        "index.html": "document.images.length && [...document.images].every(image => image.complete)",
        "questions.html": "document.querySelectorAll('#grid .cell').length",
        "transcript.html": "document.body.dataset.shown",
    }
    seconds = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((site / "index.html").as_uri())  # starts the browser's processes
        for name, condition in ready.items():
            page.goto("about:blank")
            before = time.monotonic()
            page.goto((site / name).as_uri())
            page.wait_for_function(condition)
            seconds[name] = time.monotonic() - before
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[3400, 34000])
    parser.add_argument(
        "--folder", type=Path, help="where the folders are made, or were before (default: a temporary one)"
    )
    given = parser.parse_args()
    columns = ("samples", "folder", "report", "written in", "of a core", "most memory")
    print(f"| {' | '.join((*columns, 'overview opens in', 'questions', 'transcript'))} |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        for samples in given.samples:
            folder, site = place / f"run_{samples}", place / f"report_{samples}"
            if not (folder / "summary.json").exists():
                # In a process of its own: a child's most memory counts what its parent had when it began.
                making = Process(target=made_run.write, args=(folder, samples // REPEATS, REPEATS, TURNS, WORDS))
                making.start()
                making.join()
                if making.exitcode:
                    sys.exit(making.exitcode)
            seconds, busy, memory = build(folder, site)
            times = opened(site)
            cells = [f"{value:.2f} s" for value in times.values()] if times else ["-"] * 3
            row = (
                f"{samples:,}",
                f"{size(folder):.0f} MB",
                f"{size(site):.0f} MB",
                f"{seconds:.1f} s",
                f"{busy:.1f} s",
                f"{memory:.0f} MB",
            )
            print(f"| {' | '.join((*row, *cells))} |", flush=True)


if __name__ == "__main__":
    main()
