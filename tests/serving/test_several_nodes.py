"""What the start script says to SGLang, by the configuration files: read by SGLang's own parser, without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from ATTS.errors import UserError
from ATTS.launch.servers import parser, servers

PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
print(json.dumps([vars(parser.parse_args(words)) for words in json.load(sys.stdin)], default=str))
"""
MEETING = "10.0.0.1:20000"
CASES: dict[str, dict[str, str]] = {
    "70b": {"CONFIG": "configs/70b.sh"},
    "first of two": {"CONFIG": "configs/two_nodes.sh", "DIST_INIT_ADDR": MEETING},
    "second of two": {"CONFIG": "configs/two_nodes.sh", "DIST_INIT_ADDR": MEETING, "NODE_RANK": "1"},
    "any flag": {
        "EVAL_MODEL_ARGS": "--enable-deterministic-inference --ep-size 2 --enable-hierarchical-cache --hicache-ratio 3"
    },
    "two on a CPU": {"CONFIG": "configs/demo.sh", "NNODES": "2", "NODE_RANK": "1", "DIST_INIT_ADDR": MEETING},
}


def said(folder: Path, environment: dict[str, str]) -> list[str]:
    """The words that the start script gives to ``python``, without the module's name."""
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[3:]))\n")
    python.chmod(0o755)
    whole = {**os.environ, **environment, "PYTHON": str(python)}
    done = subprocess.run(
        ["bash", "scripts/launch_sglang_servers.sh"], cwd=ROOT, env=whole, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words: list[str] = json.loads(done.stdout)
    return words


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What SGLang reads, by case, of each server that is started."""
    folder = tmp_path_factory.mktemp("python")
    made = {name: servers(parser(None).parse_args(said(folder, case))) for name, case in CASES.items()}
    commands = [server.command()[3:] for one in made.values() for server in one]
    done = subprocess.run([sys.executable, "-c", PARSE], input=json.dumps(commands), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    read = iter(json.loads(done.stdout.splitlines()[-1]))
    return {name: [next(read) for _ in one] for name, one in made.items()}


@pytest.mark.timeout(600)
def test_sglang_reads_what_the_configurations_say(parsed: dict[str, list[dict[str, Any]]]) -> None:
    draft, target = parsed["70b"]
    assert (draft["tp_size"], target["tp_size"]) == (1, 4)
    assert target["model_path"] == "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
    assert target["enable_hierarchical_cache"]

    draft, first = parsed["first of two"]
    (second,) = parsed["second of two"]  # without a draft
    assert (draft["nnodes"], draft["tp_size"]) == (1, 1)
    for rank, node in enumerate((first, second)):
        assert (node["nnodes"], node["node_rank"], node["dist_init_addr"], node["tp_size"]) == (2, rank, MEETING, 8)

    _, target = parsed["any flag"]
    assert (target["ep_size"], target["hicache_ratio"]) == (2, 3.0)
    assert target["enable_deterministic_inference"]

    (second,) = parsed["two on a CPU"]
    assert (second["device"], second["nnodes"], second["node_rank"], second["tp_size"]) == ("cpu", 2, 1, 2)


@pytest.mark.parametrize(
    "given", [{"DIST_INIT_ADDR": ""}, {"DIST_INIT_ADDR": MEETING, "NODE_RANK": "2"}, {"DIST_INIT_ADDR": "10.0.0.1"}]
)
def test_a_machine_that_could_never_meet_the_others_is_told_so(tmp_path: Path, given: dict[str, str]) -> None:
    words = said(tmp_path, {"CONFIG": "configs/two_nodes.sh", **given})
    with pytest.raises(UserError, match=r"needs NODE_RANK from 0 to 1 .* and DIST_INIT_ADDR, HOST:PORT of the first"):
        servers(parser(None).parse_args(words))
