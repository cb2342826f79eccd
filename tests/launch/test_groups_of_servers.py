"""Which servers are started for a model that is to have several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ATTS.errors import UserError
from ATTS.launch.replicas import Gateway, apart, replicas
from ATTS.launch.supervisor import Server, _started, stop


def test_every_group_of_devices_has_a_server_of_its_own_at_every_second_port() -> None:
    drafts = replicas("small_model", 0, "0;1", 40000, "cuda", model="d")
    targets = replicas("eval_model", 2, "2,3;4,5", 40001, "cuda", model="t")
    assert [(one.role, one.port, one.devices) for one in (*drafts, *targets)] == [
        ("small_model", 40000, "0"),
        ("small_model_2", 40002, "1"),
        ("eval_model", 40001, "2,3"),
        ("eval_model_2", 40003, "4,5"),
    ]
    assert {one.key_variable for one in drafts} == {"SMALL_MODEL_API_KEY"}
    for one in targets:
        words = one.command()
        assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert [one.devices for one in replicas("small_model", 3, "0", 1, "cpu", model="d")] == [""] * 3
    apart([*drafts, *targets])
    with pytest.raises(UserError, match="small_model_2 would both listen at port 40002"):
        apart([*drafts, Server(role="eval_model", model="t", port=40002)])


def test_servers_that_have_no_devices_are_refused() -> None:
    with pytest.raises(UserError, match=r"3 servers of small_model need as many groups of GPUs.*'0;1;2'.*'0,1' has 1"):
        replicas("small_model", 3, "0,1", 40000, "cuda", model="d")


def test_a_gateway_names_the_servers_behind_it() -> None:
    one = Gateway(
        role="eval_model_gateway", model="t", port=5, device="none", python="p", behind=("http://a", "http://b")
    )
    words = one.command()
    assert words[:3] == ["p", "-m", "smg.launch_router"]
    assert words[words.index("--worker-urls") + 1 :] == ["http://a", "http://b"]
    assert "--routing-key-override" in words


def test_stop_finds_all_of_them(tmp_path: Path) -> None:
    names = ["small_model", "small_model_2", "eval_model", "eval_model_gateway"]
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    processes = [subprocess.Popen(sleeping, start_new_session=True) for _ in names]
    for name, one in zip(names, processes, strict=True):
        (tmp_path / f"{name}.pid").write_text(f"{one.pid}\n{_started(one.pid)}\n")
    (tmp_path / "other.pid").write_text(f"{os.getpid()}\n{_started(os.getpid())}\n")
    assert sorted(stop(tmp_path)) == sorted(names)
    for one in processes:
        one.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["other.pid"]
