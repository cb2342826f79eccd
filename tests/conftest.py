"""Shared parts: recorded data, a free port, the real servers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from ATTS.launch.supervisor import free_ports

settings.register_profile("no files", database=None, deadline=None)  # and no clock: machines are shared
settings.load_profile("no files")

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("ATTS_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def hub() -> Path:
    """Local copies of data sets in the hub's layout."""
    if not (SHARED / "hub").is_dir():
        pytest.skip(f"no data sets in {SHARED / 'hub'} (set ATTS_TEST_DATA)")
    return SHARED / "hub"


@pytest.fixture(scope="session")
def published_arrays() -> Path:
    """Calibration arrays of the published system."""
    if not (SHARED / "calibration").is_dir():
        pytest.skip(f"no published arrays in {SHARED / 'calibration'} (set ATTS_TEST_DATA)")
    return SHARED / "calibration"


@pytest.fixture(scope="session")
def traces() -> Path:
    """Recorded runs of the published system."""
    if not (SHARED / "traces").is_dir():
        pytest.skip(f"no recorded runs in {SHARED / 'traces'} (set ATTS_TEST_DATA)")
    return SHARED / "traces"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the real servers run in one process, so that these start once; the others beside it."""
    for item in items:
        if item.get_closest_marker("servers"):
            item.add_marker(pytest.mark.xdist_group("servers"))


@dataclass(frozen=True)
class Pair:
    """A running pair of real servers."""

    draft_port: int
    target_port: int
    folder: Path

    @property
    def flags(self) -> list[str]:
        return [
            *("--small_model_name", "demo-draft", "--eval_model_name", "demo-target"),
            *("--small_model_port", str(self.draft_port), "--eval_model_port", str(self.target_port)),
        ]


def launch(folder: Path) -> Pair:
    """Starts the demo pair by the script that people use."""
    draft_port, target_port = free_ports(2)
    environment = {
        **os.environ,
        "CONFIG": str(ROOT / "configs/demo.sh"),
        "PYTHON": sys.executable,
        "SMALL_MODEL_PORT": str(draft_port),
        "EVAL_MODEL_PORT": str(target_port),
        "SERVER_DIR": str(folder),
    }
    subprocess.run([ROOT / "scripts/launch_sglang_servers.sh"], check=True, env=environment, timeout=240)
    return Pair(draft_port, target_port, folder)


def stop(folder: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "SERVER_DIR": str(folder)}
    subprocess.run([ROOT / "scripts/stop_sglang_servers.sh"], check=True, env=environment, timeout=60)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The demo pair on real SGLang servers, one for all tests that leave it alive."""
    folder = tmp_path_factory.mktemp("servers")
    try:
        yield launch(folder)
    finally:
        stop(folder)


def door(module: str, *flags: str, cwd: Path, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess:
    """Runs a front door as a person would, in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"ATTS.{module}", *flags],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
