"""The parts of scripts/gpu_check.sh, on emulated servers: runs, agreement, prediction, table."""

import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_agreement
import gpu_check
import gpu_replay
import pytest
import torch
from chances import chance
from conftest import ROOT, free_ports
from gpu_agreement import AgreementSettings
from gpu_check import CheckSettings
from stand_in.sglang.launch_server import write
from transformers import AutoModelForCausalLM

from ATTS import demo
from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Ask, Scripted, Served, Server, Timing
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.launch import supervisor
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings, ConformalSettings
from ATTS.store import result_folder

PAIR = {"small_model_name": "demo-draft", "eval_model_name": "demo-target", "dataset_name": "demo", "max_problems": 6}
CHUNKS = {"small_model_max_tokens": 24, "evalator_max_tokens": 24}


class Scores:
    """Of texts; ``shaky``: another in every request, as of a server whose batches change what it computes."""

    def __init__(self) -> None:
        self.shaky = 0.0
        self.asked = 0

    def __call__(self, ask: Ask, start: int) -> list[float | None]:
        self.asked += 1
        off = self.shaky * (self.asked % 7)
        return [-chance("score", ask.text).random() - off] * (len(ask.ids) - start)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script leaves behind, but for the table."""
    out = tmp_path_factory.mktemp("check")
    scores = Scores()

    def served(role: str) -> Served:
        return Served(role=role, name=f"demo-{role}", content=Scripted(write, scores), timing=Timing(page=64, speed=0))

    async def run() -> None:
        async with Server(served("draft")) as draft, Server(served("target")) as target:
            both: dict[str, Any] = {**PAIR, **CHUNKS, "small_model_url": draft.url, "eval_model_url": target.url}
            both["use_chat_template"] = True
            limits = {"small_model_concurrency": 16, "eval_model_concurrency": 16}
            for kind in ("atts", "atts_resample"):
                way = {"ppl_array_path": out / f"{kind}.npy"}
                way |= {"on_rejection": "resample"} if kind == "atts_resample" else {}
                size = {"sample_size": 4}
                await calibrate(make(ConformalSettings, **both, **way, **size), False)
                sizes = {"repeats": 2, "turns": 5, "output_dir": out / kind}
                await evaluate_async(make(AsyncSettings, **both, **way, **size, **sizes, **limits), False)
            alone = {"small_model_name": "demo-target", "small_model_url": target.url, "small_model_max_tokens": 120}
            alone |= {"dataset_name": "demo", "max_problems": 6, "repeats": 2, "turns": 1, "output_dir": out / "target"}
            await evaluate_alone(make(BaselineSettings, **alone))
            flags = {"target": target.url, "run": out / "atts", "array": out / "atts.npy", "reference": "none"}
            for name, shaky in (("agreement", 0.0), ("shaky", 0.3)):
                scores.shaky = shaky
                said = {"json": out / f"{name}.json", "chunks": 12, "batches": (4, 12)}
                await gpu_agreement.agreement(make(AgreementSettings, **flags, **said))

    asyncio.run(run())
    return out


def test_decisions_agree_where_batches_change_nothing_and_else_it_shows(checked: Path) -> None:
    steady, shaky = (json.loads((checked / f"{name}.json").read_text()) for name in ("agreement", "shaky"))
    assert [batch["size"] for batch in steady["batches"]] == [1, 4, 12]
    for batch in steady["batches"]:
        assert (batch["same_decisions"], batch["logprob_most"], batch["score_most"]) == (1.0, 0.0, 0.0)
    assert min(batch["same_decisions"] for batch in shaky["batches"]) < 1
    assert 0 < max(batch["logprob_most"] for batch in shaky["batches"]) <= 0.3 * 6 + 1e-6
    assert steady["chunks"] == 12
    assert steady["reference"] is None


@pytest.mark.parametrize("name", ["atts", "atts_resample", "target"])
def test_a_run_is_replayed_with_all_of_its_tokens(checked: Path, name: str) -> None:
    for sample in result_folder.samples(checked / name):
        history = sample["full_history"]
        turns = gpu_replay.turns("x", history)
        written = dict.fromkeys(("draft", "target"), 0)
        for entry in history:
            if entry["model"] in ("small", "small_discarded", "eval_generate"):
                written["target" if entry["model"] == "eval_generate" else "draft"] += entry["tokens"]
        assert sum(turn.draft.tokens for turn in turns) == written["draft"]
        assert sum(turn.continuation.tokens for turn in turns if turn.continuation) == written["target"]
        assert sum(turn.replaces for turn in turns) == sum(e["model"] == "small_discarded" for e in history)
        assert gpu_replay.prompt_tokens(sample) > 20


def test_faster_devices_are_predicted_to_be_faster(checked: Path) -> None:
    for name, alone in (("atts", False), ("atts_resample", False), ("target", True)):
        slow, fast = (
            gpu_replay.predicted(checked / name, f"1.5B:{device}", f"7B:{device}", (16, 16), alone)
            for device in ("L4", "H100")
        )
        assert 0 < slow < fast
    with pytest.raises(UserError, match="is not MODEL:DEVICExGPUS"):
        gpu_replay.predicted(checked / "atts", "1.5B:GPU", "7B:L4", (16, 16))


def test_the_table_and_its_json_say_the_same(checked: Path) -> None:
    flags = {"folder": checked, "simulated_draft": "1.5B:L4", "simulated_target": "7B:L4", "missing": "No speculation."}
    text = asyncio.run(gpu_check.check(make(CheckSettings, **flags)))
    assert text == (checked / "gpu_check.md").read_text()
    figures = json.loads((checked / "gpu_check.json").read_text())
    assert [run["name"] for run in figures["runs"]] == ["target", "atts", "atts_resample"]
    for run in figures["runs"]:
        summary = result_folder.read_summary(checked / run["name"])
        assert summary["written_tokens"] is not None
        total = sum(summary["written_tokens"].values())
        assert run["tokens_per_second"] == pytest.approx(total / summary["wall_seconds"])
        assert f"| {gpu_check.RUNS[run['name']]} | {run['tokens_per_second']:,.0f} | {run['simulated']:,.0f} |" in text
        assert run["page_tokens"] == 64
    assert "pages of 64 tokens" in text
    assert "No speculation." in text
    assert "| 12 |" in text
    assert "Not compared with transformers: not asked for." in text


def test_a_run_that_was_interrupted_is_no_measurement(checked: Path, tmp_path: Path) -> None:
    copied = tmp_path / "target"
    copied.mkdir()
    summary = json.loads((checked / "target/summary.json").read_text())
    (copied / "summary.json").write_text(json.dumps(summary | {"samples_in_wall_seconds": 3}))
    with pytest.raises(UserError, match="was interrupted"):
        asyncio.run(gpu_check.check(make(CheckSettings, folder=tmp_path)))
    with pytest.raises(UserError, match=r"no finished run: bash scripts/gpu_check\.sh"):
        asyncio.run(gpu_check.check(make(CheckSettings, folder=tmp_path / "nothing")))


def test_what_transformers_is_compared_with_is_off_by_as_much_as_it_is(tmp_path: Path) -> None:
    """The demo target in float32: its own log-probabilities, moved by a hundredth."""
    folder = str(demo.MODELS["target"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids, start = list(range(30, 60)), 20
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    own = [logs[place - 1, ids[place]].item() for place in range(start, len(ids))]
    exact, off = (
        gpu_agreement.reference(folder, "float32", "cpu", [(ids, start)], [[value - by for value in own]])
        for by in (0.0, 0.01)
    )
    assert exact.most < 1e-5
    assert (off.tokens, off.dtype) == (10, "float32")
    assert off.mean == pytest.approx(0.01, rel=1e-2)
    assert off.score_most == pytest.approx(math.exp(0.01) - 1, rel=1e-2)
    for told, saved, expected in (
        ("auto", "bfloat16", "bfloat16"),
        ("auto", "float32", "float16"),
        ("float32", "", "float32"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"dtype": saved}))
        assert gpu_agreement.dtype_of({"dtype": told}, str(tmp_path)) == expected


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine with GPUs, as the scripts see it, whose SGLang is emulated. Both servers are on the one GPU."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler here, which the script asks for first")
    config = tmp_path / "config.sh"
    draft, target = free_ports(2)
    config.write_text(
        f"DEVICE=cuda SMALL_MODEL=demo-draft EVAL_MODEL=demo-target SMALL_MODEL_DEVICE=0 EVAL_MODEL_DEVICES=0\n"
        f"SMALL_MODEL_PORT={draft} EVAL_MODEL_PORT={target}\n"
    )
    tests = ROOT / "tests"
    paths = os.pathsep.join(map(str, (tests / "gpu/stand_in", tests, ROOT)))
    given = {"CONFIG": str(config), "PYTHON": sys.executable, "PYTHONPATH": paths, "OUT": str(tmp_path / "out")}
    try:
        yield {**os.environ, **given}
    finally:
        supervisor.stop(tmp_path / "out/servers")


@pytest.mark.timeout(900)  # nine processes that import for seconds, more on a busy machine
def test_the_whole_check_runs_with_the_engines_speculation_and_leaves_no_server(
    machine: dict[str, str], tmp_path: Path
) -> None:
    sizes = {"QUESTIONS": "3", "REPEATS": "2", "TURNS": "3", "CHUNK": "24", "REFERENCE": "none"}
    devices = {"SIMULATED_DRAFT": "1.5B:L4", "SIMULATED_TARGET": "7B:L4"}
    command = ["bash", ROOT / "scripts/gpu_check.sh"]
    done = subprocess.run(command, env={**machine, **sizes, **devices}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert done.stdout.rstrip().endswith((out / "gpu_check.md").read_text().rstrip())
    figures = json.loads((out / "gpu_check.json").read_text())
    assert [run["name"] for run in figures["runs"]] == list(gpu_check.RUNS)
    assert [run["samples"] for run in figures["runs"]] == [6] * 4
    assert [run["simulated"] is not None for run in figures["runs"]] == [True, False, True, True]
    assert figures["agreement"]["chunks"] == 6
    first = (out / "servers/eval_model.log").read_text().splitlines()[0]
    assert "--load-format dummy" in first
    assert "--speculative-algorithm NGRAM" in first  # of the last start
    assert "stopped: small_model, eval_model" in done.stderr
    assert not list((out / "servers").glob("*.pid"))


def test_kernels_are_warmed_by_random_weights_and_the_servers_are_stopped(
    machine: dict[str, str], tmp_path: Path
) -> None:
    command = ["bash", ROOT / "scripts/precompile_kernels.sh"]
    done = subprocess.run(command, env=machine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "out/times.md").read_text()
    for role in ("small_model", "eval_model"):
        assert "--load-format dummy" in (tmp_path / f"out/servers/{role}.log").read_text().splitlines()[0]
    assert not list((tmp_path / "out/servers").glob("*.pid"))
