"""Real SGLang servers: what the client relies on, and starting and stopping them."""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import Pair, free_ports
from transformers import AutoModelForCausalLM

from ATTS import demo
from ATTS.flags import make
from ATTS.launch import supervisor
from ATTS.method.chain import Chain
from ATTS.method.prompts import maths
from ATTS.method.score import SCORES
from ATTS.method.types import Stage
from ATTS.runs import models
from ATTS.runs.settings import AsyncSettings
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.tasks import datasets

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


def test_a_server_says_who_it_is_and_how_long_its_context_is(servers: Pair) -> None:
    async def ask() -> None:
        async with new_session(20) as session:
            info = await inspect(session, f"http://127.0.0.1:{servers.target_port}", "target", "demo-target")
            assert info.version == "0.5.23"
            assert info.context_length == 2048
            assert info.tokenizer_path == str(demo.MODELS["target"])

    asyncio.run(ask())


def settings(pair: Pair) -> AsyncSettings:
    return make(
        AsyncSettings,
        small_model_name="demo-draft",
        eval_model_name="demo-target",
        dataset_name="demo",
        small_model_port=pair.draft_port,
        eval_model_port=pair.target_port,
        small_model_max_tokens=24,
        evalator_max_tokens=24,
        use_chat_template=True,
    )


@pytest.mark.parametrize("name", list(SCORES))
def test_the_score_is_what_transformers_computes(servers: Pair, name: str) -> None:
    """Same model, same ids: every token of the newest chunk, the first included, and the model's own choices in their
    places, to 1e-4."""
    model = AutoModelForCausalLM.from_pretrained(demo.MODELS["target"])

    async def score() -> tuple[float, list[int], int]:
        chosen = settings(servers)
        async with new_session(60) as session:
            draft = await models.draft(session, chosen.draft, chosen.requests, 1)
            target = await models.target(session, chosen.target, chosen.requests, 1, True)
            d, t = (party.reader(datasets.load("demo", max_problems=1)[0]) for party in (draft, target))
            chain = Chain(lambda *_: None, d, t, score=SCORES[name])
            for turn in range(2):
                await chain.extend(d, turn, Stage.DRAFT)
            event = await chain.score(t, 1)
            assert event.score is not None
            return event.score, [*t.scoring_prompt, *t.ids], t.newest

    found, ids, newest = asyncio.run(score())
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(ids) - newest, len(ids))
    chunk = [logs[i - 1, ids[i]].item() for i in places]
    regrets = sorted(logs[i - 1].max().item() - logs[i - 1, ids[i]].item() for i in places)
    assert newest == 24
    expected = {
        "mean": math.exp(-sum(chunk) / len(chunk)),
        "sum": -sum(chunk),
        "worst_window": max(-sum(chunk[i : i + 5]) / 5 for i in range(20)),
        "worst_token": -min(chunk),
        "regret": sum(regrets[-3:]) / 3,
    }
    assert set(expected) == set(SCORES)
    assert found == pytest.approx(expected[name], rel=1e-4, abs=1e-4)


def test_prompts_extend_each_other_so_the_prefix_cache_serves_all_but_the_newest_chunk(servers: Pair) -> None:
    async def run() -> list[int]:
        """Tokens a score had to compute beyond the chunk it scores."""
        chosen = settings(servers)
        async with new_session(60) as session:
            target = await models.target(session, chosen.target, chosen.requests, 1, True)
            t = target.reader(datasets.load("demo", max_problems=9)[8])
            chain = Chain(lambda *_: None, t)
            surplus = []
            for turn in range(4):
                await chain.extend(t, turn, Stage.CONTINUE)
                event = await chain.score(t, turn)
                if turn:
                    fresh = event.usage.prompt_tokens - event.usage.cached_tokens
                    surplus.append(fresh - t.newest)
            return surplus

    assert all(tokens <= 2 for tokens in asyncio.run(run()))


def test_a_server_ends_a_text_at_a_token_that_only_the_client_names(servers: Pair) -> None:
    """As the end of a turn that a base model's template writes and its files don't name."""

    async def run() -> None:
        chosen = settings(servers)
        async with new_session(60) as session:
            target = await models.target(session, chosen.target, chosen.requests, 1, True)
            ids = target.tokenizer.prompt(datasets.load("demo", max_problems=1)[0].prompt)
            whole = await target.model.generate(ids, 24, 0.0)
            end = whole.ids[10]
            first = whole.ids.index(end)
            cut = await target.model.sampling(stop_token_ids=[end]).generate(ids, 24, 0.0)
            assert (cut.ids, cut.ended) == (whole.ids[:first], True)

    asyncio.run(run())


def test_a_request_whose_client_leaves_is_given_up_by_the_server(servers: Pair) -> None:
    url = f"http://127.0.0.1:{servers.target_port}"
    ids = ModelTokenizer(str(demo.MODELS["target"])).prompt(maths("x"))

    async def leave() -> None:
        async with new_session(60) as session:
            body = {"input_ids": ids, "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}}
            asking = asyncio.create_task(session.post(f"{url}/generate", json=body))
            await asyncio.sleep(1)
            asking.cancel()
            limit = time.monotonic() + 30
            while time.monotonic() < limit:
                async with session.get(f"{url}/metrics") as page:
                    running = [
                        float(line.split()[-1])
                        for line in (await page.text()).splitlines()
                        if line.startswith("sglang:num_running_reqs{")
                    ]
                if running == [0.0]:
                    return
                await asyncio.sleep(0.5)
        raise AssertionError(f"still running: {running}")

    asyncio.run(leave())


def supervise(folder: Path, *more: str, model: str = "demo-draft", ports: tuple[int, int] | None = None) -> list[str]:
    draft, target = ports or free_ports(2)
    return [
        *(sys.executable, "-m", "ATTS.servers", "start", "--device", "cpu", "--folder", str(folder)),
        *("--small_model", model, "--small_model_port", str(draft), "--small_model_memory_fraction", "0.1"),
        *("--eval_model", "demo-target", "--eval_model_port", str(target), "--eval_model_memory_fraction", "0.1"),
        *more,
    ]


def servers_below(folder: Path) -> list[psutil.Process]:
    """Every live process whose standard output is a log in ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.readlink(f"/proc/{process.pid}/fd/1").startswith(str(folder)):
                found.append(process)
        except OSError:
            continue
    return found


def test_a_server_that_dies_at_start_shows_its_log_and_takes_the_other_one_along(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    config = json.loads((demo.MODELS["draft"] / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"architectures": ["NoSuchModel"]}))
    folder = tmp_path / "servers"
    done = subprocess.run(
        supervise(folder, model=str(broken)), capture_output=True, text=True, timeout=200, env={**os.environ}
    )
    assert done.returncode == 1
    assert "small_model server ended with status" in done.stderr
    assert f"The end of {folder / 'small_model.log'}:" in done.stderr
    assert servers_below(folder) == []
    assert not list(folder.glob("*.pid"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(supervise(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 60
        while len(servers_below(tmp_path)) < 2 and time.monotonic() < limit:
            time.sleep(0.2)
        assert len(servers_below(tmp_path)) >= 2
        time.sleep(2)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no server is left running" in told
    assert servers_below(tmp_path) == []
    assert not list(tmp_path.glob("*.pid"))


def test_a_start_that_takes_too_long_is_ended_with_the_log(tmp_path: Path) -> None:
    done = subprocess.run(supervise(tmp_path, "--timeout", "2"), capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "was not ready within 2 s" in done.stderr
    assert servers_below(tmp_path) == []


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            supervise(tmp_path, ports=(port, free_ports(1)[0])), capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "choose another" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", ["{pid}\n", "{pid}\n1\n", "x\n", "", "0\n0\n", "1\n1\n", "-1\n1\n"])
def test_a_process_that_took_over_an_old_number_is_not_stopped(tmp_path: Path, told: str) -> None:
    """Not even one that leads a group and has the server's name in its command line."""
    command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)", "sglang"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (tmp_path / "small_model.pid").write_text(told.format(pid=other.pid))
        assert supervisor.stop(tmp_path) == []
        assert other.poll() is None
        other.kill()


def test_servers_of_a_launcher_that_was_killed_are_listed_and_stopped(tmp_path: Path) -> None:
    """As early as they run, and with the children of one that is gone itself."""
    with subprocess.Popen(supervise(tmp_path), stderr=subprocess.DEVNULL) as process:
        while len(list(tmp_path.glob("*.pid"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    left = servers_below(tmp_path)
    assert len(left) >= 2
    assert sorted(supervisor.stop(tmp_path)) == ["eval_model", "small_model"]
    assert servers_below(tmp_path) == []


def test_the_servers_listen_on_this_machine_only(servers: Pair) -> None:
    for port in (servers.draft_port, servers.target_port):
        addresses = {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"}
        assert addresses == {"127.0.0.1"}
    assert (servers.folder / "small_model.pid").read_text().split()[0].isdigit()
    assert (servers.folder / "eval_model.log").stat().st_size > 0
