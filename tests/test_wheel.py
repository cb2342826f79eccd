"""The package as a wheel: installed without the checkout, it has all that its commands need."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT, free_ports


def run(*command: object, cwd: Path) -> str:
    """What a command prints; it doesn't see the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the dependencies of the tests' own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ATTS", source / "ATTS", ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    (wheel,) = folder.glob("*.whl")
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    library = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (library / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files don't count
    shutil.rmtree(source)
    return python


def test_it_lists_the_commands_of_the_checkout(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import ATTS; print(ATTS.__file__)", cwd=tmp_path)
    assert str(python.parents[1]) in where
    assert run(python, "-m", "ATTS", cwd=tmp_path) == run(sys.executable, "-m", "ATTS", cwd=ROOT)


def test_a_demo_run_and_its_grading_need_nothing_else(python: Path, tmp_path: Path) -> None:
    """Models, problems and the files of Speculative Thinking are in it."""
    ports = free_ports(2)
    sides = ("--small_model_port", ports[0], "--eval_model_port", ports[1])
    names = ("--small_model_name", "demo-draft", "--eval_model_name", "demo-target")
    emulate = list(map(str, (python, "-m", "ATTS.emulate", *sides, *names)))
    small = ("--max_problems", 2, "--output_dir", "run")
    with subprocess.Popen(emulate, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as servers:
        try:
            assert servers.stdout is not None
            for line in servers.stdout:
                if line.startswith("target:"):
                    break
            loop = ("--repeats", 2, "--turns", 2, "--calibration", "online")
            told = run(
                *(python, "-m", "ATTS.ref_async", *sides, *names, "--dataset_name", "demo", *loop, *small), cwd=tmp_path
            )
            assert told.strip().endswith("run")
            thinking = (
                "--spe_config",
                "configs/speculative_thinking/demo.yml",
                "--evals",
                "demo",
                "--n",
                1,
                "--end",
                1,
            )
            run(python, "-m", "ATTS.speculative_thinking", *sides, *thinking, "--max_tokens", 300, cwd=tmp_path)
        finally:
            servers.terminate()
    graded = run(python, "-m", "ATTS.compute_accuracy", "--output_dir", "run", cwd=tmp_path)
    assert re.search(r"2 questions, 4 samples \(0 missing", graded)
