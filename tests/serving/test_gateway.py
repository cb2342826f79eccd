"""Runs through a real gateway before two servers a side; skipped where there is none."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import ROOT
from test_replicas import QUESTIONS, REPEATS, by_server, pairs, right, servers, settings, told, until

from ATTS.emulator import Server
from ATTS.errors import UserError
from ATTS.launch.gateway import command
from ATTS.launch.supervisor import free_ports
from ATTS.runs.evaluate import evaluate_async
from ATTS.serving.gateway import is_starting, workers
from ATTS.serving.replicas import reach
from ATTS.serving.server_info import new_session

PYTHON = os.environ.get("GATEWAY_PYTHON", sys.executable)
__all__ = ["right"]  # a fixture


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if subprocess.run([PYTHON, "-c", "import smg"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} has no smg (third_party/gateway/requirements.txt); GATEWAY_PYTHON names one that has")


class Gateway:
    """One before these servers; killed at the end of the block."""

    def __init__(self, behind: list[Server], log: Path) -> None:
        port, other = free_ports(2)
        self.url, self._log, self._count = f"http://127.0.0.1:{port}", log, len(behind)
        self._command = command(PYTHON, "127.0.0.1", port, other, [one.url for one in behind])

    async def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=output, stderr=output)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def __aenter__(self) -> "Gateway":
        await self.start()
        async with new_session(20) as session:
            while len(await known(session, self.url)) < self._count:
                assert self._process.returncode is None, f"the gateway has ended: {self._log}"
                await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def known(session: aiohttp.ClientSession, url: str) -> list[str]:
    try:
        return await workers(session, url, "draft")
    except UserError:
        return []


def at(gateways: list[Gateway]) -> dict[str, str]:
    """Flags."""
    return {"small_model_url": gateways[0].url, "eval_model_url": gateways[1].url}


def test_through_a_gateway_nothing_changes_and_every_chain_has_one_server(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> dict[str, list[Counter[str]]]:
        async with servers(**pairs()) as found, AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(Gateway(found[role], tmp_path / role)) for role in found]
            await evaluate_async(
                settings(tmp_path, found, output_dir=tmp_path / "out", **at(gateways)),
                per_question=False,
            )
            return {role: [Counter(one.chains) for one in those] for role, those in found.items()}

    chains = asyncio.run(run())
    assert told(tmp_path / "out") == right
    for of_servers in chains.values():
        assert not set(of_servers[0]) & set(of_servers[1])
        assert all(of_servers)
    assert sum(map(len, chains["draft"])) == QUESTIONS * REPEATS
    for role in ("draft", "target"):
        assert by_server(tmp_path / "out")[role]["cached_share"] > (0.75 if role == "draft" else 0.5)


def test_what_a_gateway_hides_is_asked_of_its_servers(tmp_path: Path) -> None:
    async def run() -> None:
        async with servers(draft=pairs(context_length=2048)["draft"]) as found, AsyncExitStack() as stack:
            before = await stack.enter_async_context(Gateway(found["draft"], tmp_path / "log"))
            session = await stack.enter_async_context(new_session(20))
            servers_of = await reach(session, "draft", [before.url], "d", 0, 0, 60.0)
            assert servers_of.info.context_length == 2048
            assert servers_of.info.kv_tokens == 2 * 200_000
            assert servers_of.info.returns_ids
            (one,) = servers_of
            assert sorted(one.workers) == sorted(server.url for server in found["draft"])
            load = await one.load()
            assert load is not None
            assert load.running == 0

    asyncio.run(run())


def test_a_killed_server_behind_a_gateway_costs_nothing(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> None:
        async with servers(**pairs()) as found, AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(Gateway(found[role], tmp_path / role)) for role in found]
            chosen = settings(tmp_path, found, output_dir=tmp_path / "out", **at(gateways))
            work = asyncio.create_task(evaluate_async(chosen, per_question=False))
            await until(lambda: found["target"][0].chains.total() >= 20)
            await found["target"][0].__aexit__()
            await work

    asyncio.run(run())
    assert told(tmp_path / "out") == right


def test_a_gateway_that_knows_no_server_yet_says_so_as_the_client_expects(tmp_path: Path) -> None:
    """Which a run takes for a failure that may pass; a gateway that is started again is quicker than a test can be."""

    async def ask() -> bool:
        port, other, nobody = free_ports(3)
        words = command(PYTHON, "127.0.0.1", port, other, [f"http://127.0.0.1:{nobody}"])
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*words, stdout=log, stderr=log)
        body = {"input_ids": [1], "sampling_params": {"max_new_tokens": 1}}
        try:
            async with new_session(20) as session:
                while process.returncode is None:
                    try:
                        async with session.post(f"http://127.0.0.1:{port}/generate", json=body) as reply:
                            return is_starting(reply.status, reply.headers)
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.1)
            raise AssertionError((tmp_path / "log").read_text())
        finally:
            process.kill()
            await process.wait()

    assert asyncio.run(ask())


def test_a_gateway_that_is_killed_and_started_again_costs_nothing(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> None:
        async with servers(**pairs()) as found, AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(Gateway(found[role], tmp_path / role)) for role in found]
            chosen = settings(tmp_path, found, output_dir=tmp_path / "out", max_retries=8, **at(gateways))
            work = asyncio.create_task(evaluate_async(chosen, per_question=False))
            await until(lambda: found["target"][0].chains.total() >= 20)
            await gateways[1].kill()
            await asyncio.sleep(1)
            await gateways[1].start()
            await work

    asyncio.run(run())
    assert told(tmp_path / "out") == right


def test_the_start_script_puts_a_gateway_before_each_side_and_the_stop_script_ends_all(tmp_path: Path) -> None:
    """With emulated servers in SGLang's place, on devices that they don't look at."""
    small, large, *gateways = free_ports(4)
    tests = ROOT / "tests"
    given = {
        "DEVICE": "cuda",
        "SMALL_MODEL": "demo-draft",
        "EVAL_MODEL": "demo-target",
        "SERVER_DIR": str(tmp_path),
        "SMALL_MODEL_PORT": str(small),
        "EVAL_MODEL_PORT": str(large),
        "SMALL_MODEL_REPLICAS": "2",
        "SMALL_MODEL_DEVICE": "0;1",
        "EVAL_MODEL_DEVICES": "2,3;4,5",
        "SMALL_MODEL_GATEWAY_PORT": str(gateways[0]),
        "EVAL_MODEL_GATEWAY_PORT": str(gateways[1]),
        "PYTHON": sys.executable,
        "GATEWAY_PYTHON": PYTHON,
        "PYTHONPATH": os.pathsep.join(map(str, (tests / "gpu/stand_in", tests, ROOT))),
    }
    environment = {**os.environ, **given}

    async def behind(url: str, role: str, name: str) -> list[str]:
        async with new_session(20) as session:
            (one,) = await reach(session, role, [url], name, 0, 0, 60.0)
            return sorted(one.workers)

    def script(name: str) -> str:
        done = subprocess.run(
            ["bash", ROOT / f"scripts/{name}_sglang_servers.sh"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    try:
        script("launch")
        for port, gateway, role in ((small, gateways[0], "draft"), (large, gateways[1], "target")):
            found = asyncio.run(behind(f"http://127.0.0.1:{gateway}", role, f"demo-{role}"))
            assert found == sorted(f"http://127.0.0.1:{port + 2 * number}" for number in (0, 1))
    finally:
        told = script("stop")
    for role in ("small_model", "eval_model"):
        for name in (role, f"{role}_2", f"{role}_gateway"):
            assert name in told
    for port in (small, small + 2, large, large + 2, *gateways):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"something still listens at {port}"
