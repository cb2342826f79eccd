"""The code base itself: linted, formatted, typed; scripts parse; pages and commands exist."""

import re
import subprocess
import sys
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


def test_every_file_and_module_that_the_pages_name_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "third_party").glob("*.md")]:
        text = page.read_text()
        for module in re.findall(r"python -m (ATTS[.\w]+)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), (page, module)
        for path in re.findall(r"\b((?:scripts|configs|docs|third_party)/[\w./-]+\w)", text):
            assert (ROOT / path).exists(), (page, path)


def test_layers_import_only_what_is_below_them() -> None:
    """method/ imports nothing of the others; serving/ and tasks/ don't import runs/."""
    forbidden = {
        "method": ("runs", "serving", "tasks", "demo"),
        "serving": ("runs", "tasks"),
        "tasks": ("runs", "serving"),
    }
    for layer, others in forbidden.items():
        for path in (ROOT / "ATTS" / layer).glob("*.py"):
            for other in others:
                assert not re.search(rf"^\s*(from|import) ATTS\.{other}\b", path.read_text(), re.M), (path, other)
