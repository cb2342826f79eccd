"""The installation for GPUs, without one: what is locked, what a machine must have, where a toolkit is found."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = ROOT / "third_party/sglang_gpu"
OURS = {"sentencepiece": "0.2.3"}  # SGLang asks for 0.2.1, which can crash Python at its exit


def locked(*files: str) -> dict[str, str]:
    """Versions by name."""
    lines = [line.partition("#")[0].strip() for file in files for line in (ROOT / file).read_text().splitlines()]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}


def test_every_package_is_pinned_and_those_chosen_by_hand_are_as_chosen() -> None:
    found = locked("third_party/sglang_gpu/requirements.txt")
    chosen = [Requirement(line) for line in (FOLDER / "requirements.in").read_text().splitlines() if line[0] != "#"]
    assert len(found) > 200
    for one in chosen:
        assert one.specifier.contains(found[canonicalize_name(one.name)]), one
    assert {found[f"nvidia-cuda-{part}"][:5] for part in ("nvcc", "crt", "cccl", "runtime")} == {"13.0."}
    assert len({found[f"nvidia-{part}"] for part in ("cuda-nvcc", "cuda-crt", "nvvm")}) == 1


def test_what_sglang_asks_for_is_in_the_lock_or_told_to_differ() -> None:
    """Of the CPU's installation, which is the same release; ours come last, as setup.sh installs them."""
    found = locked("third_party/sglang_gpu/requirements.txt", "requirements.lock")
    assert found["sglang"] == importlib.metadata.version("sglang")
    wanted = [Requirement(line) for line in importlib.metadata.requires("sglang") or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert len(wanted) > 40
    wrong = {
        canonicalize_name(one.name): found.get(canonicalize_name(one.name))
        for one in wanted
        if not one.specifier.contains(found.get(canonicalize_name(one.name), "0"), prereleases=True)
    }
    assert wrong == OURS


def test_what_this_package_asks_for_is_in_the_lock() -> None:
    found = locked("third_party/sglang_gpu/requirements.txt", "requirements.lock")
    for one in (Requirement(line) for line in importlib.metadata.requires("ATTS") or ()):
        assert one.specifier.contains(found[canonicalize_name(one.name)], prereleases=True), one


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The programs of a machine that has all that is needed; nothing else is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    program(folder, "nvidia-smi", "echo 580.65.06; echo 580.65.06")
    program(folder, "c++", "/bin/cat >/dev/null; [[ $1 == -std=c++20 ]]")
    (tmp_path / "Python.h").touch()
    program(folder, "python3", f"echo {tmp_path}/Python.h")
    return folder


def check(machine: Path) -> tuple[int, list[str]]:
    """The exit status and the lines of the check."""
    done = subprocess.run(
        ["bash", FOLDER / "check.sh"], env={"PATH": str(machine)}, capture_output=True, text=True, timeout=20
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_machine_that_has_all_passes_with_a_line_each(machine: Path) -> None:
    status, lines = check(machine)
    assert status == 0
    assert [line.split()[0] for line in lines] == ["ok"] * 3
    assert "580.65.06" in lines[0]


LACKS = {
    "old driver": ("nvidia-smi", "echo 570.124.06", 0, "570.124.06: CUDA 13.0 needs 580 or newer"),
    "no compiler": ("c++", None, 1, "not found; install g++ 11 or newer"),
    "old compiler": ("c++", "/bin/cat >/dev/null; exit 1", 1, "doesn't compile C++20"),
    "no headers": ("python3", "echo /nowhere/Python.h", 2, "apt install python3-dev"),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_machine_lacks_is_told_in_its_line(name: str, machine: Path) -> None:
    what, text, line, advice = LACKS[name]
    if text is None:
        (machine / what).unlink()
    else:
        program(machine, what, text)
    status, lines = check(machine)
    assert status == 1
    assert lines[line].startswith("PROBLEM")
    assert advice in lines[line]
    assert sum(one.startswith("PROBLEM") for one in lines) == 1


def test_no_driver_is_a_note_since_images_are_built_without_one(machine: Path) -> None:
    program(machine, "nvidia-smi", "echo failed to communicate with the driver; exit 9")
    status, lines = check(machine)
    assert (status, lines[0].split()[0]) == (0, "note")


def test_this_machines_own_compiler_is_tried() -> None:
    """The check's own source is C++20, and is refused by an older standard."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    source = re.search(r"echo '(template.*)' \|", (FOLDER / "check.sh").read_text())
    assert source is not None
    for standard, right in (("c++20", True), ("c++17", False)):
        command = [compiler, f"-std={standard}", "-fsyntax-only", "-x", "c++", "-"]
        done = subprocess.run(command, input=source[1], text=True, capture_output=True)
        assert (done.returncode == 0) == right


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with a toolkit as its packages install one: a runtime without the linker's name."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    packages = tmp_path / "venv/lib/site-packages/nvidia/cu13"
    for name in ("bin", "include", "lib", "nvvm/bin"):
        (packages / name).mkdir(parents=True)
    program(packages / "bin", "nvcc", "echo nvcc of the packages")
    runtime = packages / "lib/libcudart.so.13"
    command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcudart.so.13", "-x", "c++", "-", "-o", runtime]
    subprocess.run(command, input='extern "C" int cudaDeviceReset() { return 0; }', text=True, check=True)
    (tmp_path / "venv/bin").mkdir()
    program(tmp_path / "venv/bin", "python", f"echo {packages.parents[1]}")
    return tmp_path / "venv"


def lay_out(environment: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", FOLDER / "toolkit.sh", environment], capture_output=True, text=True, timeout=20)


def test_what_is_compiled_links_with_the_toolkit_that_is_laid_out(environment: Path) -> None:
    """As SGLang and FlashInfer do it: -L CUDA_HOME/lib64 -lcudart. Twice is as once."""
    for _ in range(2):
        done = lay_out(environment)
        assert (done.returncode, done.stderr) == (0, "")
    home = environment / "cuda"
    assert subprocess.run([home / "bin/nvcc"], capture_output=True, text=True).stdout == "nvcc of the packages\n"
    assert {path.name for path in home.iterdir()} == {"bin", "include", "nvvm", "lib64"}
    made = environment / "made.so"
    source = 'extern "C" int cudaDeviceReset(); int f() { return cudaDeviceReset(); }'
    command = [shutil.which("c++") or "", "-shared", "-fPIC", "-x", "c++", "-", "-o", made, "-Wl,--no-undefined"]
    linked = subprocess.run([*command, f"-L{home}/lib64", "-lcudart"], input=source, text=True, capture_output=True)
    assert linked.returncode == 0, linked.stderr
    assert os.readlink(home / "lib64/stubs/libcuda.so").endswith("/libcuda.so.1")


def test_a_toolkit_that_is_not_installed_is_named(environment: Path) -> None:
    (environment / "lib/site-packages/nvidia/cu13/bin/nvcc").unlink()
    done = lay_out(environment)
    assert done.returncode == 1
    assert "cu13/bin/nvcc is missing: run DEVICE=cuda bash scripts/setup.sh" in done.stderr
    assert not (environment / "cuda").exists()


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_every_script_of_the_set_parses(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_nothing_is_installed_on_a_machine_that_lacks_something(tmp_path: Path) -> None:
    """11 GB are not downloaded to be told afterwards."""
    (tmp_path / "v/bin").mkdir(parents=True)
    program(tmp_path / "v/bin", "python", "echo ran >&2; echo /nowhere/Python.h")
    environment = {**os.environ, "DEVICE": "cuda", "VENV": str(tmp_path / "v")}
    done = subprocess.run(["bash", ROOT / "scripts/setup.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "PROBLEM  Python.h" in done.stderr
    assert "installing" not in done.stderr
    assert done.stderr.count("ran") == 1


def test_an_image_copies_all_that_setup_reads_before_it_runs() -> None:
    """And names nothing that isn't there."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = [
        line.split()[1:-1] for line in lines[: lines.index("RUN bash scripts/setup.sh")] if line.startswith("COPY")
    ]
    there = [ROOT / name for names in copied for name in names]
    assert [path for path in there if not path.exists()] == []
    base = re.findall(r"^ *base=\((.*)\)|base\+=\((.*)\)", (ROOT / "scripts/setup.sh").read_text(), re.M)
    read = [
        word.strip('"').replace("$SGLANG", "third_party/sglang_gpu") for pair in base for word in "".join(pair).split()
    ]
    read += ["third_party/sglang_gpu/check.sh", "README.md", "ATTS/__init__.py"]
    assert len(read) >= 7
    for name in read:
        assert any(path == ROOT / name or path in (ROOT / name).parents for path in there), name
