"""Short forms of what docs/RELIABILITY.md measures, by the same programs."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT


def figures(program: str, *flags: str) -> Any:
    """What a program of scripts/figures/ prints at its end."""
    command = [sys.executable, ROOT / "scripts/figures" / program, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_that_ends_at_any_call_leaves_whole_files_or_none_and_the_next_goes_on() -> None:
    """The program itself fails at the first point where that isn't so."""
    assert all(told["points"] > 5 for told in figures("crash_points.py").values())


@pytest.mark.parametrize(
    ("what", "in_flight"),
    [
        ("run", 16),
        ("calibration", 32),  # a score takes two requests
        ("re_extraction", 16),
        ("sync_fix_budget", 16),
        ("speculative_thinking", 16),
        ("comparison", 10_000),  # a block that was interrupted is done again, so that its clock is whole
        ("frontier", 10_000),
        ("search", 0),
    ],
)
def test_a_command_that_is_killed_again_and_again_comes_to_the_same(what: str, in_flight: int) -> None:
    kills = "4" if what in ("run", "calibration") else "2"
    (told,) = figures("kills.py", "--kills", kills, "--questions", "4", "--what", what)["commands"]
    assert told["kills"] == int(kills)
    assert (told["lost"], told["doubled"], told["torn"], told["tracebacks"], told["left"]) == (0, 0, 0, 0, [])
    assert told["processes"] == 0
    assert told["same"]
    assert told["again_a_kill"] <= in_flight
