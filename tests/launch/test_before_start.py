"""Before a server is started, and while it starts: ports, devices, its environment, what it is waited for."""

import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT, free_ports

from ATTS.errors import UserError
from ATTS.launch import before_start, supervisor
from ATTS.launch.server_log import COMPILING, PARTS, START, waiting_for
from ATTS.launch.supervisor import Server

NOBODY = 2**31 - 1  # no process group


def test_a_taken_port_is_told_with_two_that_are_free_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """30000 is taken as well; both that are offered can be listened on and lie below Linux's own range."""
    with socket.socket() as taken, socket.socket() as first:
        taken.bind(("127.0.0.1", 0))
        first.bind(("127.0.0.1", 0))
        taken.listen()
        first.listen()
        port, beginning = (one.getsockname()[1] for one in (taken, first))
        monkeypatch.setattr(before_start, "FIRST_PORT", beginning)
        with pytest.raises(UserError) as told:
            before_start.check_port("small_model", "127.0.0.1", port)
    offered = [int(number) for number in re.findall(r"_PORT=(\d+)", str(told.value))]
    assert len(set(offered)) == 2
    assert {port, beginning}.isdisjoint(offered)
    for number in offered:
        before_start.check_port("small_model", "127.0.0.1", number)
    low, high = map(int, before_start.EPHEMERAL.read_text().split())
    assert f"from {low} to {high} to any program" in str(told.value)
    monkeypatch.undo()
    assert low > before_start.FIRST_PORT + 1


def test_a_port_that_linux_does_not_hand_out_is_told_without_that_line() -> None:
    low, _ = map(int, before_start.EPHEMERAL.read_text().split())
    with socket.socket() as taken:
        for port in range(low - 1, low - 100, -1):
            try:
                taken.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
        taken.listen()
        with pytest.raises(UserError, match="choose another, for example SMALL_MODEL_PORT=") as told:
            before_start.check_port("eval_model", "127.0.0.1", port)
    assert "to any program" not in str(told.value)
    with pytest.raises(UserError, match="choose another SGLANG_HOST"):
        before_start.check_port("eval_model", "192.0.2.1", port)  # of no machine


@pytest.mark.parametrize(
    ("devices", "shared"),
    [(["0", "1,2"], False), (["0", "0"], True), (["0,1", "1,2"], True), (["", "1"], True), (["10", "1"], False)],
)
def test_servers_on_one_gpu_are_known_to_share_it(devices: list[str], shared: bool) -> None:
    assert before_start.share_a_device(devices) == shared


def test_a_proxy_is_for_downloads_and_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HTTPS_PROXY": "http://proxy:3128",
        "http_proxy": "http://proxy:3128",
        "NO_PROXY": "intra",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("no_proxy", raising=False)
    found = Server("eval_model", "a/b", 1, host="10.1.2.3").surroundings()
    assert (found["HTTPS_PROXY"], found["http_proxy"]) == ("http://proxy:3128", "http://proxy:3128")
    for name in ("NO_PROXY", "no_proxy"):
        assert found[name].split(",") == ["intra", "127.0.0.1", "localhost", "::1", "10.1.2.3"]
    program = "import urllib.request as u; print(bool(u.proxy_bypass('127.0.0.1')), bool(u.proxy_bypass('hub')))"
    told = subprocess.run([sys.executable, "-c", program], env=found, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "False"]


def test_a_server_on_gpus_finds_ninja_and_the_toolkit_beside_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is not activated, so nothing of it is on PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "cuda").mkdir()
    (tmp_path / "bin" / "ninja").write_text("#!/bin/sh\necho of the environment\n")
    (tmp_path / "bin" / "ninja").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    found = Server("eval_model", "a/b", 1, devices="1,2").surroundings()
    told = subprocess.run(["/bin/sh", "-c", "ninja"], env=found, capture_output=True, text=True, check=True)
    assert told.stdout == "of the environment\n"
    assert found["CUDA_HOME"] == str(tmp_path / "cuda")
    assert found["CUDA_VISIBLE_DEVICES"] == "1,2"
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda")
    assert Server("eval_model", "a/b", 1).surroundings()["CUDA_HOME"] == "/opt/cuda"
    assert Server("eval_model", "a/b", 1, device="cpu").surroundings()["PATH"] == "/usr/bin:/bin"


def test_without_a_share_of_memory_sglang_chooses_it_on_gpus() -> None:
    assert "--mem-fraction-static" not in Server("eval_model", "a/b", 1).command()
    script = (
        f'unset CONFIG; PYTHON={sys.executable}; source {ROOT}/scripts/common.sh; echo "[$EVAL_MODEL_MEM_FRACTION]"'
    )
    clean = {name: value for name, value in os.environ.items() if not name.endswith("MEM_FRACTION")}
    told = subprocess.run(["bash", "-c", script], env=clean, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


BEGINNINGS = [  # of a start on a GPU, in order, and what is waited for after each
    ("python -m sglang.launch_server --model-path Qwen/QwQ-32B", START),
    ("[2026-11-30 03:01:56] server_args={'model_path': 'Qwen/QwQ-32B'}", "reading the model's small files"),
    ("[...] Load weight begin. avail mem=78.93 GB", "loading the weights"),
    ("[...] Using model weights format ['*.safetensors']", "downloading the weights"),
    ("Multi-thread loading shards:   0% Completed | 0/14\rMulti-thread loading shards:  43% Completed | 6/14",
     "loading the weights, 43 %"),
    ("[...] Load weight end. elapsed=5.23 s, type=Qwen2ForCausalLM", "setting up its memory"),
    ("[...] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 65536", "setting up its memory"),
    ("[...] Building JIT module sampling; this can take several minutes on first use.", COMPILING),
    ("[...] Capture target decode CUDA graph begin. backend=full", "capturing CUDA graphs"),
    ("  0%|   | 0/36\rCapturing batches (bs=256 avail_mem=9.1 GB):  25%|##   | 9/36", "capturing CUDA graphs, 25 %"),
    ("[...] Running FlashInfer autotune with cache: /x", "tuning kernels, the first time only"),
    ("[...] INFO:     Started server process [13764]", "its first request"),
]  # fmt: skip


def test_what_a_start_is_waiting_for_is_told_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "eval_model.log"
    with log.open("w") as file:
        for line, part in BEGINNINGS:
            file.write(line + "\n")
            file.flush()
            assert waiting_for(log, NOBODY) == part


def test_a_compiler_among_the_servers_processes_is_told(tmp_path: Path) -> None:
    """Before anything in the log, and not when it belongs to somebody else."""
    log = tmp_path / "eval_model.log"
    log.write_text("Load weight end\n")
    compiler = tmp_path / "nvcc"
    compiler.symlink_to("/bin/sleep")
    with subprocess.Popen([compiler, "60"], start_new_session=True) as process:
        assert waiting_for(log, process.pid) == COMPILING
        assert waiting_for(log, os.getpgid(0)) == "setting up its memory"
        process.kill()


def test_the_lines_are_those_that_sglang_writes() -> None:
    """Of the release that is installed; FlashInfer's own is not part of the CPU's set."""
    spec = find_spec("sglang")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "srt"
    files = [*(source / "model_executor").rglob("*.py"), *(source / "model_loader").glob("*.py")]
    files += [
        source / "entrypoints/http_server.py",
        source / "entrypoints/engine.py",
        *(source / "mem_cache").glob("*.py"),
    ]
    text = "\n".join(path.read_text() for path in files)
    written = (
        *("Load weight begin", "Load weight end", "Using model weights format", "will attempt download"),
        *("skipping download", "Multi-thread loading shards", "KV Cache is allocated", " begin. ", "server_args="),
        *("Capturing batches", "Running FlashInfer autotune with cache"),
    )
    for line in written:
        assert line in text, line
    assert len({name for _, name in PARTS}) == 8


STUB = """
import http.server, os, pathlib, sys, time, urllib.request
flags = dict(zip(sys.argv[1:], sys.argv[2:]))
folder, mine = pathlib.Path(os.environ["SEEN"]), flags["--served-model-name"]
def answers(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False
(folder / mine).write_text(str(answers(os.environ["DRAFT_PORT"])))
while os.environ["TOGETHER"] == "1" and len(list(folder.iterdir())) < 2:
    time.sleep(0.05)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(flags["--port"])), Page).serve_forever()
"""


@pytest.mark.parametrize("devices", [("0", "0"), ("0", "1,2")])
def test_servers_on_one_gpu_start_one_after_the_other_and_others_at_once(
    tmp_path: Path, devices: tuple[str, str]
) -> None:
    """In the place of SGLang a program that notes whether the draft answers already, and that, of those that start at
    once, does not answer before both are there."""
    together = devices[0] != devices[1]
    (tmp_path / "sglang").mkdir()
    (tmp_path / "seen").mkdir()
    (tmp_path / "sglang/__init__.py").touch()
    (tmp_path / "sglang/launch_server.py").write_text(STUB)
    ports = free_ports(2)
    seen, servers = tmp_path / "seen", tmp_path / "servers"
    given = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "SEEN": str(seen), "DRAFT_PORT": str(ports[0])}
    environment = {**os.environ, **given, "TOGETHER": str(int(together))}
    command = [sys.executable, "-m", "ATTS.servers", "start", "--folder", str(servers), "--timeout", "60"]
    for role, name, port, cards in zip(("small", "eval"), ("draft", "target"), ports, devices, strict=True):
        command += [f"--{role}_model", name, f"--{role}_model_port", str(port), f"--{role}_model_devices", cards]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr
        assert (seen / "draft").read_text() == "False"
        assert (seen / "target").read_text() == str(not together)
    finally:
        supervisor.stop(servers)
