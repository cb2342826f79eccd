"""The comparison of all methods: what it runs in which order, what it adds up, and that it goes on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from ATTS.baselines import compare_methods_report
from ATTS.baselines.compare_methods import METHODS, MethodsSettings, compare_methods
from ATTS.baselines.prompts import SPEC_REASON_SCORE
from ATTS.emulator import Ask, ScriptedLikely, Served, Server, Written
from ATTS.errors import UserError


def served(role: str) -> Served:
    """Two paragraphs, one of which reflects, then an answer; grades and perplexities vary."""

    def write(ask: Ask) -> Written:
        if ask.text.endswith(SPEC_REASON_SCORE):
            return Written("9", "length")
        behind = ask.text.rpartition("<|assistant|>")[2]
        done = behind.count("step")
        if done >= 2:
            return Written(r"so \boxed{42}", "stop")
        return Written("Wait, step.\n\n" if done else "step.\n\n", "length")

    def score(ask: Ask, start: int) -> list[float | None]:
        return [-0.1 - len(ask.text) % 7 / 10] * (len(ask.ids) - start)

    content = ScriptedLikely(write, score, lambda ask: {"9": 0.9, "1": 0.1})  # noqa: ARG005
    return Served(role=role, name=role, content=content)


def settings(one: Server, two: Server, folder: Path, **more: Any) -> MethodsSettings:
    base: dict[str, Any] = {
        "small_model_name": "draft",
        "eval_model_name": "target",
        "small_model_url": one.url,
        "eval_model_url": two.url,
        "dataset_name": "demo",
        "max_problems": 4,
        "repeats": 2,
        "blocks": 2,
        "token_budget": 120,
        "small_model_max_tokens": 6,
        "evalator_max_tokens": 6,
        "calibration_problems": 3,
        "sample_size": 2,
        "spe_config": ROOT / "configs/speculative_thinking/demo.yml",
        "output_dir": folder,
    }
    return MethodsSettings(**base | more)


def test_all_methods_stand_in_one_table_one_picture_and_one_json(tmp_path: Path) -> None:
    async def main() -> str:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            return await compare_methods(settings(one, two, tmp_path, blocks=1))

    table = asyncio.run(main())
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == list(METHODS)
    assert (tmp_path / "comparison.md").read_text().strip() == table
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["calibration_seconds"] > 0
    rows = {row["method"]: row for row in told["methods"]}
    for row in rows.values():
        assert (row["samples"], row["questions"], row["k"]) == (8, 4, 2)
        alone = row["method"] in ("draft", "target")  # their one chunk is cut short here
        assert set(row["by_status"]) == {"turn_limit" if alone else "answered"}
        assert row["wall_seconds"] > 0
        assert 0 < row["latency_seconds"]["p50"] <= row["latency_seconds"]["p95"]
        assert 1 <= row["most_in_flight"] <= 8
    assert rows["draft"]["tokens"]["kept"]["target"] == 0
    assert rows["spec_reason"]["grades"]["accepted"] == 1.0
    assert rows["spec_reason"]["tokens"]["discarded"] == {"draft": 0, "target": 0}
    assert rows["speculative_thinking"]["takeovers_by_kind"]["keyword"] == 8
    assert rows["speculative_thinking"]["tokens"]["discarded"]["draft"] > 0
    assert rows["sync_fix_budget"]["requests"]["score"] > 0
    assert rows["async_fix_budget"]["requests"]["score"] == 0


def test_the_order_alternates_and_a_repeated_command_runs_only_what_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "blocks.json"

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            few = settings(one, two, tmp_path, methods="draft,target")
            first = await compare_methods(few)
            done = json.loads(log.read_text())
            assert [(told["method"], told["block"]) for told in done] == [
                *(("draft", 0), ("target", 0)),
                *(("target", 1), ("draft", 1)),
            ]
            assert await compare_methods(few) == first
            # The clock of a block whose run was cut short would be that of its rest: the block is done again.
            log.write_text(json.dumps(done[:-1]))
            (tmp_path / "draft/problem_0007.json").unlink()
            await compare_methods(few)
            again = json.loads(log.read_text())[-1]
            assert (again["method"], again["block"], again["samples"]) == ("draft", 1, 4)
            with pytest.raises(UserError, match=r"temperature: made with 0\.8, now 0\.5"):
                await compare_methods(settings(one, two, tmp_path, temperature=0.5))

    asyncio.run(main())


def test_the_number_under_way_is_the_greatest_overlap() -> None:
    samples = [
        {"started_at": start, "duration_seconds": length} for start, length in ((0, 3), (1, 3), (2, 0.5), (3, 1))
    ]
    assert compare_methods_report.most_in_flight(samples) == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"methods": "atts,magic"}, "magic unknown"),
        ({"methods": ","}, "names none"),
        ({"max_problems": 1}, "--max_problems must be at least --blocks"),
        ({"token_budget": 11}, "--token_budget must be at least a chunk"),
    ],
)
def test_settings_that_make_no_comparison_are_refused(more: dict[str, Any], message: str) -> None:
    base = {"small_model_name": "a", "eval_model_name": "b", "dataset_name": "demo", "max_problems": 4}
    chunks = {"small_model_max_tokens": 6, "evalator_max_tokens": 6}
    with pytest.raises(ValueError, match=message):
        MethodsSettings(**base | chunks | more)
