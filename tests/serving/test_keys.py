"""Servers that want a key: from the environment to the request, and nowhere else."""

import asyncio
import logging
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, door

from ATTS.emulator import Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.launch import supervisor
from ATTS.launch.supervisor import Server as Started
from ATTS.serving import keys
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import inspect, new_session

KEY = "sk-secret-of-the-server"
CONTENT = Scripted(lambda _: Written(r"It is \boxed{1}."), lambda ask, start: [-0.5] * len(ask.ids[start:]))


def asked(role: str) -> list[int]:
    """What the client gets from an emulated server that wants the key."""

    async def run() -> list[int]:
        served = Served(role=role, name="model", content=CONTENT, api_key=KEY)
        async with Server(served) as server, new_session(10) as session:
            info = await inspect(session, server.url, role, "model")
            model = SGLangModel(session, server.url, role, info, asyncio.Semaphore(1), 0)
            assert await model.load() is not None
            return list((await model.generate([1, 2, 3], 5, 0.0)).ids)

    return asyncio.run(run())


@pytest.mark.parametrize("role", ["draft", "target"])
def test_a_server_is_sent_the_key_of_its_variable(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in keys.VARIABLES.values():
        monkeypatch.setenv(variable, "of the other server")
    with pytest.raises(UserError, match=f"{role} server .* refuses the key in {keys.VARIABLES[role]}"):
        asked(role)
    monkeypatch.setenv(keys.VARIABLES[role], KEY + "\n")
    assert asked(role)
    monkeypatch.delenv(keys.VARIABLES[role])
    with pytest.raises(UserError, match=f"wants a key: set {keys.VARIABLES[role]}"):
        asked(role)
    monkeypatch.setenv(keys.VARIABLES[role], "clé")
    with pytest.raises(UserError, match="no key has"):
        asked(role)


def test_the_launch_command_and_what_the_server_logs_show_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in SGLang's place that tells all it knows: its flags, its command line and its log."""
    (tmp_path / "sglang").mkdir()
    (tmp_path / "sglang/__init__.py").touch()
    (tmp_path / "sglang/launch_server.py").write_text(
        "import logging, pathlib, sys\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "assert __name__ == '__main__' and sys.argv[-2:] == ['--api-key', 'sk-secret-of-the-server'], sys.argv\n"
        "logging.info('server_args=%s 100%%', sys.argv)\n"
        "print(pathlib.Path('/proc/self/cmdline').read_bytes().split(b'\\0'))\n"
    )
    monkeypatch.setenv("SMALL_MODEL_API_KEY", KEY)
    for other in ("OPENAI_API_KEY", "EVAL_MODEL_API_KEY"):
        monkeypatch.setenv(other, "somebody else's")
    server = Started("small_model", "demo-draft", 1, device="cpu", environment={"HF_HUB_OFFLINE": "1"})
    environment = {**server.surroundings(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    told = subprocess.run(server.command(), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert "somebody else's" not in environment.values()
    assert KEY not in told.stdout + told.stderr + " ".join(server.command())
    assert "'--api-key', '***'] 100%" in told.stdout
    assert b"sglang" in " ".join(server.command()).encode()  # by which a running one is known
    monkeypatch.delenv("SMALL_MODEL_API_KEY")
    assert "sglang.launch_server" in server.command()


def test_a_key_that_is_given_as_a_flag_is_not_written_into_the_log() -> None:
    given = ["python", "--api-key", KEY, f"--api-key={KEY}", "--admin-api-key", KEY, "--port", "1"]
    shown = supervisor._shown(given)
    assert KEY not in " ".join(shown)
    assert shown[-2:] == ["--port", "1"]
    assert len(shown) == len(given)


def test_a_run_against_servers_with_keys_leaves_no_key_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the command line, over an emulated server in this process."""
    caplog.set_level(logging.DEBUG)

    async def run() -> subprocess.CompletedProcess[str]:
        served = Served(role="draft", name="demo-draft", content=CONTENT, api_key=KEY)
        async with Server(served) as server:
            flags = ("--dataset_name", "demo", "--max_problems", "2", "--repeats", "1", "--turns", "1")
            flags += ("--small_model_name", "demo-draft", "--small_model_url", server.url, "--output_dir", "run")
            return await asyncio.to_thread(door, "baseline", *flags, cwd=tmp_path, SMALL_MODEL_API_KEY=KEY)

    told = asyncio.run(run())
    assert told.returncode == 0, told.stderr
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "problem_0001.json" in {path.name for path in tmp_path.rglob("*.json")}
    assert KEY not in written + told.stdout + told.stderr + caplog.text
