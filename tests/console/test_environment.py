"""Commands in other people's environments: terminals of other encodings, readers that leave, full disks."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import door

from ATTS.console import Once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sample whose answer not every terminal can show."""
    (tmp_path / "run").mkdir()
    content = {"problem_index": 0, "final_answer": "≤ é \ud835", "question": "What?", "reference_answer": "√2"}
    (tmp_path / "run/problem_0000.json").write_text(json.dumps(content))
    return tmp_path


FLAGS = ("--output_dir", "run", "--per_question")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_what_a_terminal_can_not_show_is_escaped(folder: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "ATTS.compute_accuracy", *FLAGS]
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=100)
    assert told.returncode == 0, told.stderr
    assert b"Traceback" not in told.stderr
    text = told.stdout.decode(encoding)
    assert "(mean accuracy) 0.0 %" in text
    assert (r"\u2264" in text) == (encoding != "utf-8")
    assert r"\ud835" in text


def test_help_is_shown_on_any_terminal(tmp_path: Path) -> None:
    assert door("compute_accuracy", "--help", cwd=tmp_path, PYTHONIOENCODING="ascii").returncode == 0


def test_a_reader_that_leaves_and_a_full_disk_are_no_traceback(folder: Path) -> None:
    command = f"{sys.executable} -m ATTS.compute_accuracy {' '.join(FLAGS)}"
    for where in ("| true", "> /dev/full"):
        told = subprocess.run(
            ["bash", "-c", f"{command} {where}"], cwd=folder, capture_output=True, text=True, timeout=100
        )
        assert "Traceback" not in told.stderr
        assert "Exception ignored" not in told.stderr
        if where != "| true":
            assert (told.returncode, "No space left" in told.stderr) == (2, True)


def test_a_warning_that_comes_again_is_shown_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    handler = Once()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log = logging.getLogger("test of warnings")
    log.addHandler(handler)
    log.propagate = False
    for _ in range(50):
        log.warning("the %s is busy", "server")
    log.warning("once")
    log.removeHandler(handler)
    handler.close()
    assert capsys.readouterr().err.splitlines() == [
        "WARNING the server is busy",
        "WARNING once",
        "WARNING the server is busy (50 times)",
    ]
