"""Recorded runs of the published system through the front door: every decision as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from replay import Agreement

pytestmark = pytest.mark.timeout(300)


def test_the_published_driver_is_reproduced_decision_by_decision(traces: Path, tmp_path: Path) -> None:
    """A slice: three questions of each of two runs, with and without chat template, all 16 repeats."""
    environment = {
        "PYTHON": sys.executable,
        "VENV": str(Path(sys.prefix)),
        "DATA": str(traces.parent),
        "OUT": str(tmp_path),
        "MAX_PROBLEMS": "3",
    }
    done = subprocess.run(
        [ROOT / "scripts/replay_recorded.sh"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == 2
    for counts in told:
        assert counts["samples"] == counts["samples_equal"] == 48
        assert counts["percentiles_equal"] == counts["percentiles"] > 48


def test_an_agreement_with_one_difference_is_not_complete() -> None:
    same = Agreement(2, 2, 2, 5, 5, 5, 5, 2)
    assert same.complete
    assert not Agreement(2, 2, 2, 5, 4, 5, 5, 2).complete
    assert not Agreement(2, 1, 2, 5, 5, 5, 5, 2).complete
    assert not Agreement().complete
