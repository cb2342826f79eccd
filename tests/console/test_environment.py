"""Commands in other people's environments: terminals of other encodings, readers that leave, full disks."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import psutil
import pytest
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.console import Once, printable


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


HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m a | b <script>x</script> [text](http://x) \r over \u202e back \u2028"


def test_no_control_character_of_a_sample_a_folder_or_a_message_reaches_the_terminal(tmp_path: Path) -> None:
    """And none of what they hold acts in a table."""
    run = tmp_path / f"run\x1b[31m{chr(10)}<b>"
    run.mkdir()
    content = {"problem_index": 0, "final_answer": HOSTILE, "question": HOSTILE, "reference_answer": HOSTILE[:-1]}
    (run / "problem_0000.json").write_text(json.dumps(content))
    own = str(run)
    doors = [("re_extract", "--input_dir", own), ("compute_accuracy", "--output_dir", own, "--per_question")]
    for module, *flags in doors:
        told = door(module, *flags, cwd=tmp_path)
        assert "Traceback" not in told.stderr
        shown = told.stdout + told.stderr
        assert not set(shown) & set("\x1b\x07\x9b\r\u202e\u2028"), (module, shown)
        for line in told.stdout.splitlines():
            if line.startswith("|"):
                assert "<script>" not in line
                assert "](http" not in line
            if line.startswith("| 0 |"):
                assert line.replace("\\|", "").count("|") == 8


@given(st.text())
def test_what_is_printable_is_printed_as_it_is_and_the_rest_tells_its_code(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in shown)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_an_interrupt_ends_grading_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    """Of answers that algebra works on for minutes."""
    (tmp_path / "run").mkdir()
    for index in range(100):
        hard = f"\\int_0^{{{index + 2}}} \\frac{{\\sin(x^{index % 7 + 3})}}{{1 + x^{index + 5}}} dx"
        content = {"problem_index": index, "final_answer": hard, "question": "?", "reference_answer": f"{hard} + 1"}
        (tmp_path / f"run/problem_{index:04d}.json").write_text(json.dumps(content))
    command = [sys.executable, "-m", "ATTS.compute_accuracy", "--output_dir", "run", "--repeats", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        below: list[psutil.Process] = []
        while not below:
            assert process.poll() is None
            below = psutil.Process(process.pid).children()
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = told.splitlines()
    assert line.startswith("interrupted; what is finished is kept")
    assert not any(one.is_running() for one in below)


def test_an_interrupt_during_start_up_is_no_traceback() -> None:
    """While libraries are imported, which takes seconds."""
    command = [sys.executable, "-X", "importtime", "-m", "ATTS.compute_accuracy", "--help"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        while not process.stderr.readline().rstrip().endswith("ATTS.errors"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in told


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


def test_a_warning_is_shown_again_when_it_has_not_come_for_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ATTS.console.PAUSE_SECONDS", 0.0)
    handler = Once()
    for _ in range(2):
        handler.emit(logging.makeLogRecord({"msg": "the server has gone"}))
    handler.close()
    told = "the server has gone"
    assert capsys.readouterr().err.splitlines() == [told, told, f"{told} (2 times)"]


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
