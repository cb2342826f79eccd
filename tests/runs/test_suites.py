"""The suites: servers started and stopped around every row, on real servers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, free_ports

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


def test_a_suite_reports_a_failing_row_and_runs_the_next_one(tmp_path: Path) -> None:
    draft, target = free_ports(2)
    rows = "\n".join(
        [
            "/no/such/model demo-target demo target draft 16 16 6",
            "# a comment",
            "demo-draft demo-target demo target draft 16 16 6",
        ]
    )
    environment = {
        **os.environ,
        "CONFIG": str(ROOT / "configs/demo.sh"),
        "PYTHON": sys.executable,
        "CONFIGS": rows,
        "SMALL_MODEL_PORT": str(draft),
        "EVAL_MODEL_PORT": str(target),
        "SERVER_DIR": str(tmp_path / "servers"),
        "SAMPLE_SIZE": "2",
        "MAX_PROBLEMS": "3",
    }
    done = subprocess.run(
        [ROOT / "scripts/suite_conformal.sh"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 1, done.stderr
    assert "the model of the small_model server, /no/such/model, does not exist" in done.stderr
    assert "2 rows, 1 failed" in done.stderr
    assert "failed: /no/such/model" in done.stderr
    assert np.load(tmp_path / "evaluation/ppls_demo_target_draft_s2_t16_temp0.8_ct1.npy").shape == (6,)
    environment["CONFIGS"] = rows.splitlines()[-1]
    done = subprocess.run(
        [ROOT / "scripts/suite_async.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("results/draft_target_demo_*_ct1")
    assert len(list(folder.glob("problem_*.json"))) == 6
    assert not list((tmp_path / "servers").glob("*.pid"))
