"""The doctor, with each thing broken."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from ATTS import demo
from ATTS.diagnosis import doctor
from ATTS.diagnosis.doctor import DoctorSettings, examine
from ATTS.emulator import Scripted, Served, Server, Timing, Written
from ATTS.emulator.faults import Fault
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.launch.supervisor import free_ports

CONTENT = Scripted(lambda _: Written(" 2", "length"), lambda ask, start: [-0.5] * len(ask.ids[start:]))


def served(role: str, **more: Any) -> Served:
    timing = Timing(kv_tokens=more.pop("kv_tokens", 10**6), speed=0)
    return Served(role=role, name=f"demo-{role}", content=CONTENT, timing=timing, **more)


def examined(draft: Served | None, target: Served | None, place: Path, **flags: Any) -> str:
    """What is said, whether all is well or not."""

    async def main() -> str:
        one, two = (Server(server) if server else None for server in (draft, target))
        urls = []
        try:
            for server in (one, two):
                if server is not None:
                    await server.__aenter__()
                urls.append(server.url if server else f"http://127.0.0.1:{free_ports(1)[0]}")
            common = {"output_dir": place / "results", "dataset_name": "demo", "max_retries": 0}
            pair = {"small_model_url": urls[0], "eval_model_url": urls[1]}
            return await examine(make(DoctorSettings, **{**common, **pair, **flags}))
        finally:
            for server in (one, two):
                if server is not None:
                    await server.__aexit__()

    return asyncio.run(main())


def test_where_all_is_well_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    said = examined(served("draft"), served("target"), tmp_path)
    assert said.endswith("all that a run needs is there")
    assert "PROBLEM" not in said
    for what in (
        "Python 3.",
        "data set demo: 100 questions",
        "demo-draft, SGLang 0.5.23",
        "target server writes and scores",
    ):
        assert what in said
    assert list(tmp_path.iterdir()) == []


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "nobody there": ({"target": None}, "no server answers at"),
    "loading": ({"target": {"loading_seconds": 60}}, "it may still be loading"),
    "another model": ({"eval_model_name": "QwQ"}, "serves demo-target, not QwQ"),
    "short context": ({"target": {"context_length": 4096}}, "start it with --context-length 8192"),
    "no memory": ({"target": {"kv_tokens": 8000}}, "give it more memory"),
    "bad scores": ({"target": {"faults": (Fault.parse("none,every=1"),)}}, "log-probability"),
    "refuses": ({"target": {"faults": (Fault.parse("status,every=1,status=500"),)}}, "status 500"),
    "key": ({"target": {"api_key": "secret"}}, "set EVAL_MODEL_API_KEY"),
    "data set": ({"dataset_name": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_what_to_do(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags, advice = BROKEN[name]
    more = flags.get("target", {})
    target = None if more is None else served("target", **more)
    others = {flag: value for flag, value in flags.items() if flag != "target"}
    with pytest.raises(UserError, match=r"\d of .* need to be put right"):
        examined(served("draft"), target, tmp_path, **others)
    lines = capsys.readouterr().out.splitlines()
    advices = [after for line, after in itertools.pairwise(lines) if line.startswith("PROBLEM")]
    assert any(advice in line for line in advices), lines


def test_a_server_with_another_tokenizer_is_told_by_both_readings(tmp_path: Path, capsys: Any) -> None:
    """The folder here has another vocabulary than the server."""
    other = tmp_path / "other"
    other.mkdir()
    source = Path(demo.MODELS["target"])
    for path in source.iterdir():
        if path.suffix == ".json":
            other.joinpath(path.name).write_bytes(path.read_bytes())
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[100:102]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    vocabulary |= {
        text: vocabulary[swap] for text, swap in zip("ae", "ea", strict=True) if {"a", "e"} <= set(vocabulary)
    }
    (other / "tokenizer.json").write_text(json.dumps(content))

    class Lying(Server):
        async def _model_info(self, request: Any) -> Any:
            from aiohttp import web

            told = {"model_path": self.served.name, "tokenizer_path": str(source), "is_generation": True}
            return web.json_response(told)

    async def main() -> None:
        async with Server(served("draft")) as draft, Lying(served("target", tokenizer=str(other))) as target:
            urls = {"small_model_url": draft.url, "eval_model_url": target.url, "output_dir": tmp_path}
            await examine(make(DoctorSettings, **urls, max_retries=0))

    with pytest.raises(UserError, match="put right"):
        asyncio.run(main())
    assert "another tokenizer" in capsys.readouterr().out


def test_the_disk_and_the_installation_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (found,) = doctor.disk(tmp_path / "file" / "results")
    assert "no folder" in str(found)
    monkeypatch.setattr(doctor, "LEAST_FREE", 2**60)
    (found,) = doctor.disk(tmp_path / "a" / "b")
    assert "make room" in found.advice
    monkeypatch.setattr(
        doctor.importlib.metadata, "requires", lambda _: ["aiohttp>=99", "nothing-of-the-kind>=1", "numpy>=2"]
    )
    python, libraries = doctor.installation()
    assert not python.advice
    assert "aiohttp>=99" in libraries.what
    assert "nothing-of-the-kind>=1 (missing)" in libraries.what
    assert "numpy" not in libraries.what
    assert "setup.sh" in libraries.advice
