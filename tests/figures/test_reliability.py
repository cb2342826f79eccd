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
    "most_again",
    [
        # Requests in flight; a score of calibration takes two.
        {"run": 16, "calibration": 32, "re_extraction": 16, "sync_fix_budget": 16, "search": 0},
        {"frontier": 64, "comparison": 64},
    ],
    ids="-".join,
)
def test_a_command_that_is_killed_again_and_again_comes_to_the_same(most_again: dict[str, int]) -> None:
    for told in figures("kills.py", "--kills", "3", "--questions", "4", "--what", *most_again)["commands"]:
        assert told["kills"] == 3
        assert (told["lost"], told["doubled"], told["torn"], told["tracebacks"], told["left"]) == (0, 0, 0, 0, [])
        assert told["processes"] == 0
        assert told["same"]
        assert told["again_a_kill"] <= most_again[told["what"]]
