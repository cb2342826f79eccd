"""The comparison of all methods: what it runs in which order, what it adds up, and that it goes on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis.by_role import tokens
from ATTS.baselines import compare_methods_report
from ATTS.baselines.compare_methods import compare_methods, order, realised
from ATTS.baselines.method_settings import CONTROLS, METHODS, MethodsSettings
from ATTS.baselines.prompts import SPEC_REASON_SCORE
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.store.result_folder import samples


def served(role: str, steps: int = 2, later: float = 0.0) -> Served:
    """Paragraphs, all but the first of which reflect, then an answer; grades and perplexities vary. ``later``:
    log-probability that later chunks have less."""

    def write(ask: Ask) -> Written:
        if ask.text.endswith(SPEC_REASON_SCORE):
            return Written("9", "length")
        behind = ask.text.rpartition("<|assistant|>")[2]
        done = behind.count("step")
        if done >= steps:
            return Written(r"so \boxed{42}", "stop")
        return Written("Wait, step.\n\n" if done else "step.\n\n", "length")

    def score(ask: Ask, start: int) -> list[float | None]:
        behind = ask.text.rpartition("<|assistant|>")[2].count("step") > 1
        return [-0.1 - len(ask.text) % 7 / 10 - later * behind] * (len(ask.ids) - start)

    content = Scripted(write, score, lambda ask: {"9": 0.9, "1": 0.1})  # noqa: ARG005
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
        "calibration_problems": 20,
        "sample_size": 1,
        "spe_config": ROOT / "configs/speculative_thinking/demo.yml",
        "output_dir": folder,
    }
    return make(MethodsSettings, **base | more)


def test_all_methods_stand_in_one_table_one_picture_and_one_json(tmp_path: Path) -> None:
    async def main() -> str:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            return await compare_methods(settings(one, two, tmp_path, blocks=1))

    table = asyncio.run(main())
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == list(METHODS)
    assert (tmp_path / "comparison.md").read_text().strip() == table
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert set(told["calibration_seconds"]) == {"atts", "per_turn", "atts_resample"}
    assert all(seconds > 0 for seconds in told["calibration_seconds"].values())
    rows = {row["method"]: row for row in told["methods"]}
    for row in rows.values():
        assert (row["samples"], row["questions"], row["k"]) == (8, 4, 2)
        alone = row["method"] in ("draft", "target")  # their one chunk is cut short here
        assert (row["difference"] is None) == (row["method"] == "target")
        assert set(row["by_status"]) == {"turn_limit" if alone else "answered"}
        assert row["wall_seconds"] > 0
        assert 0 < row["latency_seconds"]["p50"] <= row["latency_seconds"]["p95"]
        assert 1 <= row["most_in_flight"] <= 8
    assert rows["draft"]["tokens"]["kept"]["target"] == 0
    for name, threshold in (("spec_reason", 7.0), ("spec_reason_3", 3.0)):
        assert json.loads((tmp_path / name / "settings.json").read_text())["settings"]["score_threshold"] == threshold
    assert json.loads((tmp_path / "per_turn/settings.json").read_text())["settings"]["calibration"] == "per_turn"
    made = json.loads((tmp_path / "atts_resample/settings.json").read_text())["settings"]
    assert (made["on_rejection"], made["calibration"], made["score_answers"]) == ("resample", "per_turn", True)
    assert rows["atts_resample"]["tokens"]["discarded"]["draft"] > 0
    assert rows["atts"]["tokens"]["discarded"] == rows["per_turn"]["tokens"]["discarded"] == {"draft": 0, "target": 0}
    assert rows["spec_reason"]["grades"]["accepted"] == 1.0
    assert rows["spec_reason"]["tokens"]["discarded"] == {"draft": 0, "target": 0}
    assert rows["speculative_thinking"]["takeovers_by_kind"]["keyword"] == 8
    assert rows["speculative_thinking"]["tokens"]["discarded"]["draft"] > 0
    assert rows["sync_fix_budget"]["requests"]["score"] > 0
    assert rows["async_fix_budget"]["requests"]["score"] == 0


def test_with_a_calibration_split_all_methods_answer_the_same_questions(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps({"problem": f"{n} + 1 = ?", "answer": str(n + 1)}) + "\n" for n in range(50)))
    more = {"dataset_name": str(file), "calibration_split": 0.5, "max_problems": 4, "repeats": 1}

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await compare_methods(settings(one, two, tmp_path / "out", **more))

    asyncio.run(main())
    asked = {name: {s["question_index"] for s in samples(tmp_path / "out" / name)} for name in METHODS}
    assert len(asked["target"]) == 4
    assert asked == dict.fromkeys(METHODS, asked["target"])
    assert asked["target"] != {0, 1, 2, 3}  # which would be those of a method that knows of no split


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
            # A block that was interrupted: what is finished stays, and the clock, which saw only the rest, isn't told.
            log.write_text(json.dumps(done[:-1]))
            (tmp_path / "draft/problem_0007.json").unlink()
            kept = {path: path.read_bytes() for path in (tmp_path / "draft").glob("problem_*.json")}
            text = await compare_methods(few)
            again = json.loads(log.read_text())[-1]
            assert (again["method"], again["block"], again["samples"]) == ("draft", 1, 1)
            assert all(path.read_bytes() == before for path, before in kept.items())
            seconds = {
                row["method"]: row["wall_seconds"]
                for row in json.loads((tmp_path / "comparison.json").read_text())["methods"]
            }
            assert seconds["draft"] is None
            assert seconds["target"] > 0
            assert "| - | - | - |" in next(line for line in text.splitlines() if line.startswith("| draft |"))
            with pytest.raises(UserError, match=r"temperature: made with 0\.8, now 0\.5"):
                await compare_methods(settings(one, two, tmp_path, temperature=0.5))

    asyncio.run(main())


def test_no_method_writes_more_than_the_budget_and_it_alone_ends_a_sample_without_an_answer(tmp_path: Path) -> None:
    """One token short of what an answer needs."""
    methods = [name for name in METHODS if name not in ("target", "draft", "speculative_thinking")]

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            few = {"max_problems": 2, "blocks": 1, "token_budget": 8, "methods": ",".join(methods)}
            await compare_methods(settings(one, two, tmp_path, **few))

    asyncio.run(main())
    for method in methods:
        for sample in samples(tmp_path / method):
            written = sum(tokens([sample])["kept"].values())
            assert sample["exit_status"] == "token_budget"
            assert written == 8


@given(st.permutations(METHODS), st.integers(1, len(METHODS)), st.integers(0, 3))
def test_atts_runs_before_its_controls_in_either_order(methods: list[str], count: int, block: int) -> None:
    chosen = methods[:count]
    made = order(chosen, block)
    assert sorted(made) == sorted(chosen)
    others = [name for name in chosen if name != "atts"]
    assert [name for name in made if name != "atts"] == (others if block % 2 == 0 else others[::-1])
    if "atts" in chosen:
        assert all(made.index("atts") < made.index(name) for name in CONTROLS if name in chosen)


def test_the_controls_take_over_at_the_rate_that_atts_realised_in_the_same_block(tmp_path: Path) -> None:
    """Whatever that rate is: here later chunks are nearly all rejected, so it is far from what was asked for."""
    names = ("atts", "random", "sync_fix_budget", "async_fix_budget")

    async def main() -> None:
        async with Server(served("draft", 5)) as one, Server(served("target", 5, later=2)) as two:
            more = {"max_problems": 16, "repeats": 4, "rejection_rate": 0.2, "methods": ",".join(names)}
            await compare_methods(settings(one, two, tmp_path, **more))

    asyncio.run(main())
    found = {name: list(samples(tmp_path / name)) for name in names}
    for block in (range(32), range(32, 64)):
        asked = realised(s for s in found["atts"] if s["problem_index"] in block)
        assert asked is not None
        assert asked.handed_over > 0.4
        for name in names[1:]:
            continued = decided = 0
            for sample in found[name]:
                if sample["problem_index"] in block:
                    taken = {e["turn"] for e in sample["full_history"] if e["model"] == "eval_generate"}
                    last = max(e["turn"] for e in sample["full_history"])
                    continued += len(taken)
                    decided += len(taken | set(range(last)))  # in the last turn the draft answers, or the target
            assert continued / decided == pytest.approx(asked.handed_over, abs=0.15), name


def test_realised_rates_count_scored_chunks_and_texts_that_went_to_the_target_unasked() -> None:
    def entry(turn: int, model: str, rejected: bool | None = None) -> dict[str, Any]:
        return {"turn": turn, "model": model} | ({} if rejected is None else {"rejected": rejected})

    history = [entry(0, "small"), entry(0, "eval_ppl", False), entry(1, "small"), entry(1, "eval_ppl", True)]
    history += [entry(1, "eval_generate"), entry(2, "small"), entry(2, "eval_generate"), entry(3, "small")]
    told = realised([{"full_history": history}])
    assert told is not None
    assert (told.rejected, told.handed_over) == (1 / 2, 2 / 3)
    assert realised([{"full_history": [entry(0, "small")]}]) is None


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
        (
            {"calibration_problems": 10},
            "per_turn among --methods needs scores worth 20 independent ones: raise --calibration_problems",
        ),
        ({"token_budget": 0}, "--token_budget must be at least 1"),
    ],
)
def test_settings_that_make_no_comparison_are_refused(more: dict[str, Any], message: str) -> None:
    base = {"small_model_name": "a", "eval_model_name": "b", "dataset_name": "demo", "max_problems": 4}
    chunks = {"small_model_max_tokens": 6, "evalator_max_tokens": 6}
    with pytest.raises(ValueError, match=message):
        make(MethodsSettings, **base | chunks | more)
