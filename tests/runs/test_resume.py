"""``--resume DIR``: the folder's settings and nothing else."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from ATTS.baselines.flags import SpecReasonSettings, SpeculativeThinkingSettings, ThinkingSettings
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make, parse
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store import provenance

BEFORE = json.loads(Path(__file__).with_name("settings_before.json").read_text())
RUNS = (AsyncSettings, BudgetSettings, BaselineSettings, SpecReasonSettings, ThinkingSettings)
CONTENT = Scripted(lambda _: Written(r"\boxed{1}", "length"), lambda ask, start: [-0.5] * len(ask.ids[start:]))


def given(kind: type[Any], words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("sys.argv", ["prog", *words])
    return parse(kind, "A test.")


def folder_of(before: dict[str, Any], folder: Path) -> Path:
    """As the version before left it."""
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"command": "x", "settings": before["settings"]}))
    return folder


@pytest.mark.parametrize("before", [b for b in BEFORE if b["kind"] in {kind.__name__ for kind in RUNS}])
def test_a_run_of_the_version_before_goes_on_with_its_settings(
    before: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(before, tmp_path / "moved")
    (kind,) = (kind for kind in RUNS if kind.__name__ == before["kind"])
    door = SpeculativeThinkingSettings if kind is ThinkingSettings else kind
    made = given(door, ["--resume", str(folder), "--max_retries=7"], monkeypatch)
    assert type(made) is kind
    assert made.requests.max_retries == 7
    assert made.output.output_dir == folder
    decisive = provenance.decisive(made)
    known = {name: value for name, value in decisive.items() if name in before["settings"]}  # flags it had, too
    assert provenance.digest(known) == before["digest"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--turns", "3"], "leave out --turns$"),
        (["--turns", "3", "--use_chat_template", "--small_model_port", "1"], "leave out --turns, --use_chat_template$"),
        (["--dataset_name", "math500"], "leave out --dataset_name$"),
    ],
)
def test_a_flag_that_decides_results_is_refused_beside_it(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(BEFORE[0], tmp_path / "run")
    with pytest.raises(UserError, match=message):
        given(AsyncSettings, [*words, f"--resume={folder}"], monkeypatch)
    assert given(AsyncSettings, [f"--resume={folder}", "--turns", "15"], monkeypatch).samples.turns == 15  # as it was


def test_a_folder_of_another_command_or_of_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(BEFORE[0], tmp_path / "run")
    with pytest.raises(UserError, match=r"run is of another command, x \(BaselineSettings has no flag bank_window"):
        given(BaselineSettings, ["--resume", str(folder)], monkeypatch)
    with pytest.raises(UserError, match="nowhere is no run to resume"):
        given(AsyncSettings, ["--resume", str(tmp_path / "nowhere")], monkeypatch)
    (folder / "settings.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        given(AsyncSettings, ["--resume", str(folder)], monkeypatch)
    with pytest.raises(SystemExit):  # and without a folder the flags are required as ever
        given(AsyncSettings, ["--resume"], monkeypatch)


def finished(folder: Path) -> int:
    return len(list(folder.glob("problem_*.json")))


def served(role: str) -> Served:
    return Served(role=role, name=f"demo-{role}", content=CONTENT)


def test_the_front_door_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    """What is missing is done, what is there stays; a command of another kind is told in one line."""
    out = tmp_path / "out"

    async def door(module: str, *words: str) -> tuple[int | None, str]:
        command = (sys.executable, "-m", f"ATTS.{module}", *words)
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
        _, told = await process.communicate()
        return process.returncode, told.decode()

    async def main() -> None:
        async with Server(served("draft")) as server:
            flags = {"small_model_name": "demo-draft", "small_model_url": server.url, "dataset_name": "demo"}
            settings = make(BaselineSettings, **flags, max_problems=3, repeats=2, turns=2, output_dir=out)
            await evaluate_alone(settings)
            before = {path.name: path.stat().st_mtime_ns for path in out.glob("problem_*.json")}
            about = json.loads((out / "settings.json").read_text())
            (out / "problem_0003.json").unlink()
            out.rename(tmp_path / "moved")
            status, told = await door("baseline", "--resume", "moved")
            assert status == 0, told
            after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "moved").glob("problem_*.json")}
            assert after.keys() == before.keys()
            assert [name for name in after if after[name] != before[name]] == ["problem_0003.json"]
            now = json.loads((tmp_path / "moved/settings.json").read_text())
            assert now["digest"] == about["digest"]
            assert now["settings"] == {**about["settings"], "output_dir": "moved"}
            status, told = await door("spec_reason", "--resume", "moved")
            assert (status, told.count("\n")) == (2, 1)
            assert told.startswith("error: --resume: moved is of another command, baseline")

    asyncio.run(main())


def test_a_run_of_speculative_thinking_is_resumed_with_the_rules_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = yaml.safe_load((ROOT / "configs/speculative_thinking/demo.yml").read_text())
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(rules))

    def write(ask: Ask) -> Written:
        return (
            Written(r"So \boxed{1}.", "stop")
            if "Wait" in ask.text.rpartition("<|assistant|>")[2]
            else Written("Wait, ")
        )

    async def main() -> None:
        content = Scripted(write, lambda ask, start: [-0.5] * len(ask.ids[start:]))
        draft, target = (Served(role=role, name=f"demo-{role}", content=content) for role in ("draft", "target"))
        async with Server(draft) as one, Server(target) as two:
            flags = {"small_model_url": one.url, "eval_model_url": two.url, "evals": "demo", "end": 2, "n": 2}
            settings = make(SpeculativeThinkingSettings, **flags, spe_config=path, result_dir=tmp_path / "out")
            folder = Path(await evaluate_speculative_thinking(settings))
            assert finished(folder) == 4
            path.unlink()
            (folder / "problem_0002.json").unlink()
            resumed = given(SpeculativeThinkingSettings, ["--resume", str(folder)], monkeypatch)
            assert await evaluate_speculative_thinking(resumed) == str(folder)
            assert finished(folder) == 4

    asyncio.run(main())


def test_a_run_per_question_is_not_resumed_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            pair = {"small_model_name": "demo-draft", "eval_model_name": "demo-target", "dataset_name": "demo"}
            urls = {"small_model_url": one.url, "eval_model_url": two.url, "output_dir": tmp_path / "out"}
            settings = make(AsyncSettings, **pair, **urls, takeover="random", max_problems=2, repeats=2)
            await evaluate_async(settings, per_question=True)
            resumed = given(AsyncSettings, ["--resume", str(tmp_path / "out")], monkeypatch)
            with pytest.raises(UserError, match="command: made with 'ref_async_per_question', now 'ref_async'"):
                await evaluate_async(resumed, per_question=False)
            assert await evaluate_async(resumed, per_question=True) == tmp_path / "out"

    asyncio.run(main())
