"""Speculative Thinking whole: its configurations, and runs through its front door."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Pair, door
from scripted import Script, sglang

from ATTS.baselines.flags import SpeculativeThinkingSettings
from ATTS.baselines.speculative_thinking import config_file
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.errors import UserError
from ATTS.flags import make

END = r"so \boxed{2}$"


def configuration(changes: Mapping[Any, Any]) -> dict[str, Any]:
    fields = yaml.safe_load((ROOT / "configs/speculative_thinking/1b_14b.yml").read_text())
    return {key: value for key, value in {**fields, **changes}.items() if value != "absent"}


def load(folder: Path, changes: Mapping[Any, Any]) -> config_file.ThinkingConfig:
    path = folder / "c.yml"
    path.write_text(yaml.safe_dump(configuration(changes)))
    return config_file.load(path)


def rules_of(folder: Path, changes: Mapping[Any, Any]) -> config_file.TakeOvers:
    made = load(folder, changes).take_overs
    assert made is not None
    return made


@pytest.mark.parametrize("path", sorted((ROOT / "configs/speculative_thinking").glob("*.yml")), ids=lambda p: p.stem)
def test_every_configuration_that_ships_is_valid(path: Path) -> None:
    config = config_file.load(path)
    if config.take_overs is not None:
        rules = config.take_overs.rules(32768, 8192, published=False)
        assert rules.max_model_len == 8192
        assert rules.not_reasoning == rules.begin
    assert (config.draft is None) == path.stem.startswith("normal_")


def test_the_shipped_values_are_the_published_ones(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, {}).rules(32768, None, published=True)
    assert (rules.max_target_tokens, rules.original_recap_token_num, rules.recap_after_negative_num) == (20, 125, 15)
    assert rules.keywords.verify == ("verify", "think again", "recap", "check")
    assert rules.keywords.positive == ("yeah", "yes", "final answer", "confident")
    assert rules.time_out == 0
    assert rules_of(tmp_path, {"time_out": 1200, "max_model_len": 8192}).rules(1, 4096, False).max_model_len == 4096


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_target_tokens": "absent"}, "max_target_tokens: Field required"),
        ({"max_target_token": 3}, "max_target_token: Extra inputs are not permitted"),
        ({"max_target_token": 3, "speculative_model_name": None}, "max_target_token: there is no such field"),
        ({"max_target_tokens": 0}, "max_target_tokens: Input should be greater than 0, not 0"),
        ({"max_target_tokens": True}, "max_target_tokens: Input should be a valid integer, not True"),
        ({"choose_large": "yes please"}, "choose_large: Input should be a valid boolean, not 'yes please'"),
        ({"TRIGGER_TOKENS": "x"}, "TRIGGER_TOKENS: Input should be a valid list, not 'x'"),
        ({"mode": "magic"}, "mode: Input should be 'vllm', .*not 'magic'"),
        ({3: 4}, "every field must be named by a text"),
        ({"TARGET_VALIDATION_KEYWORDS": {"verify": []}}, "TARGET_VALIDATION_KEYWORDS.negative: Field required"),
        (
            {"TARGET_VALIDATION_KEYWORDS": {"verify": [], "negative": [], "positive": [True]}},
            "TARGET_VALIDATION_KEYWORDS.positive.0: Input should be a valid string, not True",
        ),
    ],
)
def test_a_configuration_at_fault_is_named_with_its_field(
    tmp_path: Path, changes: dict[Any, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, changes)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    odd = ["a: [", "a: !!python/object/apply:os.abort []", "[" * 10_000, "a: &a [x]\nb: *a", "a: \x00"]
    for text, message in (*((text, "is not YAML") for text in odd), ("3", "holds no fields")):
        (tmp_path / "bad.yml").write_text(text)
        with pytest.raises(UserError, match=message) as refused:
            config_file.load(tmp_path / "bad.yml")
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="can't be read"):
        config_file.load(tmp_path / "none.yml")


def test_whole_runs_of_both_modes_leave_result_folders_and_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"target_model_name": "target-model", "speculative_model_name": "draft-model"}
    (tmp_path / "two.yml").write_text(yaml.safe_dump(configuration(own)))
    draft, target = Script(["a.\n\n", "wait ~", END]), Script(["then ~", r"\boxed{1}$"])

    def settings(one: str, two: str, **more: Any) -> SpeculativeThinkingSettings:
        base = {"small_model_url": one, "eval_model_url": two, "n": 1, "evals": "demo", "end": 1, "max_retries": 0}
        return make(SpeculativeThinkingSettings, result_dir=tmp_path / "out", **base | more)

    async def main() -> None:
        async with sglang("draft", draft) as one, sglang("target", target) as two:
            for _ in range(2):  # the second time nothing is asked
                told = await evaluate_speculative_thinking(settings(one, two, spe_config=tmp_path / "two.yml"))
                assert told == str(tmp_path / "out/two_demo_t0.6_n1")
            assert "samples 1 of 1 done" in capsys.readouterr().err
            told = await evaluate_speculative_thinking(settings(one, two, model="target-model", quiet=True))
            assert "done" not in capsys.readouterr().err
            assert told == str(tmp_path / "out/target-model_demo_t0.6_n1")
            with pytest.raises(UserError, match="no question from 2 to 2"):
                await evaluate_speculative_thinking(settings(one, two, model="target-model", start=2, end=2))

    asyncio.run(main())
    assert len(list(tmp_path.glob("out/*/problem_0000.json"))) == 2
    for bad, message in (
        ({"model": None}, "--spe_config or --model"),
        ({"n": 0}, "--n must"),
        ({"evals": ","}, "--evals"),
    ):
        with pytest.raises(ValueError, match=message):
            settings("http://a", "http://b", **{"model": "m", **bad})


@pytest.mark.servers
def test_all_three_take_overs_fire_on_real_servers(servers: Pair, tmp_path: Path) -> None:
    ports = ("--small_model_port", str(servers.draft_port), "--eval_model_port", str(servers.target_port))
    config = str(ROOT / "configs/speculative_thinking/demo.yml")
    done = door(
        "speculative_thinking",
        "--spe_config",
        config,
        "--evals",
        "demo",
        "--n",
        "2",
        "--end",
        "15",
        *ports,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    samples = [json.loads(path.read_text()) for path in tmp_path.glob("eval/demo_demo_t0.6_n2/problem_*.json")]
    assert len(samples) == 30
    kinds = {entry.get("kind") for sample in samples for entry in sample["full_history"]} - {None}
    assert kinds == {"keyword", "verification", "recap"}
