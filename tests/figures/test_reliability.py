"""Short forms of what docs/RELIABILITY.md measures, by the same programs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import server_kills
from conftest import ROOT


def figures(program: str, *flags: str, seconds: float = 250, through: Sequence[str] = ()) -> Any:
    """What a program of scripts/figures/ prints at its end."""
    command = [*through, sys.executable, ROOT / "scripts/figures" / program, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
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


def test_a_run_that_is_interrupted_again_and_again_comes_to_the_same() -> None:
    for told in figures("kills.py", "--kills", "2", "--questions", "4", "--signal", "TERM", "INT")["commands"]:
        assert (told["lost"], told["doubled"], told["torn"], told["tracebacks"], told["left"]) == (0, 0, 0, 0, [])
        assert (told["kills"], told["processes"], told["same"]) == (2, 0, True)


def test_servers_that_fail_in_any_way_make_no_score_and_few_requests_more() -> None:
    found = figures("server_faults.py", "--requests", "154")
    right = found.pop("without")
    assert right["samples"] == 16
    assert len(found) == 12
    for name, told in found.items():
        assert told["other"] == 0, name
        assert told["owed"] <= 1, name  # a request that failed four times
        assert right["requests"] <= told["requests"] + 10 * told["owed"] <= 1.3 * right["requests"], name
    assert any(told["requests"] > right["requests"] for told in found.values())


def test_hostile_input_is_refused_or_read_in_bounded_time_and_memory() -> None:
    """The program itself fails where something is run, written elsewhere, or shown raw. (CPU seconds: no clock.)"""
    found = figures("hostile_input.py")
    assert len(found["inputs"]) > 15
    for told in found["inputs"]:
        assert told["seconds"] < 30, told
        assert told["kB"] - found["nothing"]["kB"] < 1_000_000, told


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="file systems can't be mounted here: unshare -rm",
)
def test_without_room_every_command_names_the_file_keeps_what_is_there_and_goes_on() -> None:
    """The program itself fails where something is lost or the end is another."""
    flags = ("--what", "run", "calibration", "re_extraction", "search", "--share", "0.6")
    cases = figures("room.py", *flags, through=("unshare", "-rm"))["cases"]
    assert len(cases) == 6 + 3
    for name, _, said in cases:
        assert said.startswith("error: "), name
        assert ".../" in said, name


def test_a_stored_run_takes_no_more_memory_towards_its_end_and_its_progress_adds_up() -> None:
    told = figures("stored.py", "--samples", "4800", "--in_flight", "64")
    assert told["adds_up"]
    first, *_, last = told["looks"]
    assert last["ended"] > first["ended"]
    assert last["memory"] < 1.2 * first["memory"]
    assert last["files"] < 64 + 100


@pytest.mark.parametrize(
    ("score", "right", "is_made_up"),
    [(2.001, 2.0, False), (2.1, 2.0, True), (None, 2.0, True), (1.0, 2.0, True), (2.0, None, True)],
)
def test_what_counts_as_made_up(score: float | None, right: float | None, is_made_up: bool) -> None:
    assert server_kills.made_up(score, right) is is_made_up


@pytest.mark.servers
@pytest.mark.timeout(600)
@pytest.mark.skipif("SERVER_KILLS" not in os.environ, reason="takes three minutes: bash scripts/test.sh large")
def test_real_servers_that_are_killed_end_a_run_by_name_or_are_waited_for() -> None:
    found = figures("server_kills.py", "--kills", os.environ["SERVER_KILLS"], "--questions", "20", seconds=580)
    for way in found["ways"]:
        assert sorted(kill["killed"] for kill in way["kills"]) == ["both", "draft", "target"]
        assert all(kill["named"] and kill["seconds"] < 60 for kill in way["kills"]), way
        assert {kill["status"] for kill in way["kills"]} == {2 if way["again"] == "no" else None}
        assert not any(way.get(wrong) for wrong in ("lost", "made_up", "tracebacks"))
        assert way["compared"] > 20
