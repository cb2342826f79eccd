"""The code base itself: linted, formatted, typed; scripts parse; pages and commands exist."""

import ast
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--no-cache", "."),
        ("ruff", "format", "--no-cache", "--check", "."),
        ("mypy", "--cache-dir", "/dev/null"),
    ],
)
def test_the_code_is_linted_formatted_and_typed(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_every_script_parses(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.mark.parametrize("script", ["bench_grading.sh", "bench_queue.sh", "replay_recorded.sh"])
def test_a_script_that_needs_recorded_runs_asks_for_them_before_it_does_anything(script: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATA"} | {"VENV": str(tmp_path / "v")}
    done = subprocess.run(["bash", ROOT / "scripts" / script], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "DATA: recorded runs are no part of this project: set it to a folder with traces/" in done.stderr
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


def test_every_file_and_module_that_the_pages_name_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "third_party").glob("*.md")]:
        text = page.read_text()
        for module in re.findall(r"python -m (ATTS[.\w]+)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), (page, module)
        for path in re.findall(r"\b((?:scripts|configs|docs|third_party)/[\w./-]+\w)", text):
            assert (ROOT / path).exists(), (page, path)


ROOMS = [  # each imports only those before it, and itself
    *("errors", "flags", "console", "demo", "method", "tasks", "votes", "serving", "launch", "store", "published"),
    *("analysis", "progress", "runs", "calibration", "diagnosis", "api", "baselines", "merging", "tradeoff"),
    *("reporting", "emulator", "simulation", "tuning"),
]


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ATTS":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ATTS."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ATTS.")}
    return found & set(ROOMS)


def test_a_room_imports_only_the_rooms_before_it() -> None:
    folders = {path.name for path in (ROOT / "ATTS").iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(ROOMS)
    wrong = []
    for number, room in enumerate(ROOMS):
        place = ROOT / "ATTS" / room
        for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            wrong += [(str(path.relative_to(ROOT)), other) for other in imported(path) - set(ROOMS[: number + 1])]
    assert wrong == []


def code_lines(path: Path) -> int:
    """Lines that are no blank, comment or docstring."""
    text = path.read_text()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in documented for n, line in lines)


def test_rooms_and_files_stay_small() -> None:
    """A room that outgrows this wants to be two, a file too; method/ is the paper and no more."""
    files = [path for path in (ROOT / "ATTS").rglob("*.py") if path.name != "__init__.py"]
    assert [path for path in files if len(path.read_text().splitlines()) > 350] == []
    assert statistics.median(len(path.read_text().splitlines()) for path in files) <= 100
    for room in ROOMS:
        lines = sum(map(code_lines, (ROOT / "ATTS" / room).rglob("*.py")))
        assert lines <= (900 if room == "method" else 2000), room


def test_every_public_definition_is_documented() -> None:
    def missing(node: ast.AST, name: str) -> Iterator[str]:
        for child in getattr(node, "body", []):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                if not ast.get_docstring(child) and "setter" not in ast.dump(ast.List(child.decorator_list)):
                    yield f"{name}.{child.name}"
                if isinstance(child, ast.ClassDef):
                    yield from missing(child, f"{name}.{child.name}")

    files = (ROOT / "ATTS").rglob("*.py")
    assert [one for path in files for one in missing(ast.parse(path.read_text()), str(path.relative_to(ROOT)))] == []


def test_a_command_is_short_and_listed() -> None:
    """Front doors hold no logic; ``python -m ATTS`` tells each in a line."""
    listed = subprocess.run([sys.executable, "-m", "ATTS"], cwd=ROOT, capture_output=True, text=True).stdout
    doors = [path for path in (ROOT / "ATTS").glob("*.py") if path.stem not in ("__init__", "__main__", *ROOMS)]
    for door in doors:
        assert len(door.read_text().splitlines()) <= 25, door
        assert re.search(rf"^  {door.stem} +\S", listed, re.M), door
