"""The frontier's runs: which there are, in which order, that it goes on, and that more can be added."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import sums

from ATTS.emulator import Server
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.store import certificate
from ATTS.tradeoff.certify import CertifySettings, certify
from ATTS.tradeoff.frontier import FrontierSettings, frontier


def settings(one: Server, two: Server, folder: Path, **more: Any) -> FrontierSettings:
    base: dict[str, Any] = {
        "small_model_name": "draft",
        "eval_model_name": "target",
        "small_model_url": one.url,
        "eval_model_url": two.url,
        "dataset_name": str(sums.data(folder / "sums.jsonl", range(80))),
        "calibration_split": 0.25,
        "calibration_problems": 20,
        "max_problems": 30,
        "repeats": 2,
        "sample_size": 2,
        "blocks": 2,
        "token_budget": 60,
        "small_model_max_tokens": 6,
        "evalator_max_tokens": 20,
        "rates": (0.5,),
        "on_rejections": ("continue", "resample"),
        "calibrations": ("marginal", "per_turn"),
        "output_dir": folder / "out",
    }
    return make(FrontierSettings, **base | more)


def test_all_combinations_are_run_in_alternating_order_and_stand_in_table_json_and_picture(tmp_path: Path) -> None:
    names = [
        *("target", "draft"),
        *("continue_mean_marginal_0.5", "continue_mean_per_turn_0.5"),
        *("resample_mean_marginal_0.5", "resample_mean_per_turn_0.5"),
    ]

    async def main() -> str:
        async with Server(sums.served("draft")) as one, Server(sums.served("target")) as two:
            return await frontier(settings(one, two, tmp_path))

    text = asyncio.run(main())
    out = tmp_path / "out"
    log = [entry for entry in json.loads((out / "blocks.json").read_text()) if not entry["method"].startswith("cal")]
    assert [entry["method"] for entry in log] == [*names, *names[::-1]]
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == names
    assert (out / "frontier.md").read_text().strip() == text
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["run"]: row for row in json.loads((out / "frontier.json").read_text())["rows"]}
    for name, row in rows.items():
        assert (row["questions"], row["samples"]) == (30, 60)
        clocks = [entry["wall_seconds"] for entry in log if entry["method"] == name]
        assert row["wall_seconds"] == pytest.approx(sum(clocks))
        assert name in ("target", "draft") or name.startswith(row["on_rejection"])
    for name in names[2:]:
        made = json.loads((out / name / "settings.json").read_text())
        assert made["settings"]["on_rejection"] == name.split("_")[0]
        assert made["settings"]["calibration"] == name.split("_mean_")[1].removesuffix("_0.5")
        assert not set(made["calibration"]["question_ids"]) & ids(out / name)
        assert rows[name]["accuracy"]["mean"] == 1.0  # at half of the chunks all bad ones are rejected
        assert rows[name]["target_tokens"] < 1
    assert rows["draft"]["accuracy"]["mean"] < 0.8

    asyncio.run(certify(CertifySettings(runs=(out,), max_loss=0.3, cost="seconds", output=tmp_path / "c.json")))
    found = certificate.load(tmp_path / "c.json")
    assert found.settings["on_rejection"] in ("continue", "resample")
    assert len(found.tried) == 4


def ids(folder: Path) -> set[str]:
    return {json.loads(path.read_text())["question_id"] for path in folder.glob("problem_*.json")}


def test_an_interrupted_block_goes_on_and_more_rates_can_be_added(tmp_path: Path) -> None:
    few: dict[str, Any] = {"on_rejections": ("continue",), "calibrations": ("marginal",)}
    out = tmp_path / "out"
    log = out / "blocks.json"

    async def main() -> None:
        async with Server(sums.served("draft")) as one, Server(sums.served("target")) as two:
            first = await frontier(settings(one, two, tmp_path, **few))
            done = json.loads(log.read_text())
            assert await frontier(settings(one, two, tmp_path, **few)) == first
            assert json.loads(log.read_text()) == done
            log.write_text(json.dumps(done[:-1]))  # the target's second block
            assert (done[-1]["method"], done[-1]["block"], done[-1]["samples"]) == ("target", 1, 30)
            for path in sorted((out / "target").glob("problem_*.json"))[-5:]:
                path.unlink()
            kept = {path: path.read_bytes() for path in (out / "target").glob("problem_*.json")}
            more = await frontier(settings(one, two, tmp_path, **few, rates=(0.5, 0.9)))
            assert "continue_mean_marginal_0.9" in more
            again = [entry for entry in json.loads(log.read_text()) if entry["method"] == "target"]
            assert [(entry["block"], entry["samples"]) for entry in again] == [(0, 30), (1, 5)]
            assert all(path.read_bytes() == before for path, before in kept.items())
            row = next(line for line in more.splitlines() if line.startswith("| target |"))
            assert row.endswith("| - | - | - |")  # no clock saw all of it
            path = out / "frontier_settings.json"
            older = {name: value for name, value in json.loads(path.read_text()).items() if name != "request_timeout"}
            path.write_text(json.dumps(older))  # of a version that didn't have this flag
            assert await frontier(settings(one, two, tmp_path, **few, rates=(0.5, 0.9))) == more
            path.write_text(json.dumps(older))
            with pytest.raises(UserError, match=r"request_timeout: made with 600\.0, now 5"):
                await frontier(settings(one, two, tmp_path, **few, request_timeout=5.0))
            with pytest.raises(UserError, match=r"temperature: made with 0\.8, now 0\.5"):
                await frontier(settings(one, two, tmp_path, **few, temperature=0.5))

    asyncio.run(main())


def test_a_coin_more_drafts_and_another_window_are_points_of_the_same_frontier(tmp_path: Path) -> None:
    """The coin needs no calibration; an array is of its own for every number of drafts and every window."""
    more: dict[str, Any] = {
        "max_problems": 10,
        "blocks": 1,
        "repeats": 1,
        "on_rejections": ("resample",),
        "calibrations": ("per_turn",),
    }
    few, many = {"draft_attempts": (1, 2)}, {"scores": ("random", "worst_window"), "score_window": 2}

    async def main() -> None:
        async with Server(sums.served("draft")) as one, Server(sums.served("target")) as two:
            await frontier(settings(one, two, tmp_path, **more, **few))
            await frontier(settings(one, two, tmp_path, **more, **many))

    asyncio.run(main())
    out = tmp_path / "out"
    rows = {row["run"]: row for row in json.loads((out / "frontier.json").read_text())["rows"]}
    scored = ["resample_mean_per_turn_0.5", "resample2_mean_per_turn_0.5", "resample_worst_window2_per_turn_0.5"]
    assert list(rows) == ["target", "draft", *scored[:2], "resample_random_0.5", scored[2]]
    assert (rows["resample_random_0.5"]["kind"], rows["resample_random_0.5"]["score"]) == ("random", "random")
    made = {name: json.loads((out / name / "settings.json").read_text()) for name in scored}
    assert [one["settings"]["draft_attempts"] for one in made.values()] == [1, 2, 1]
    assert made[scored[2]]["settings"]["score_window"] == 2
    arrays = {path.stem for path in out.glob("calibration_*.npy")}
    assert arrays == {f"calibration_{name}" for name in scored}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rates": (1.2,)}, "--rates must lie in"),
        ({"rates": ()}, "need a value each"),
        ({"rates": (0.1, 0.1)}, "is there twice"),
        ({"margin": 0.0}, "--margin must lie"),
        ({"max_problems": 1}, "--max_problems must be at least --blocks"),
        ({"calibration_problems": 10}, "at a rate of 0.1, needs scores worth 20 independent ones"),
    ],
)
def test_settings_that_make_no_frontier_are_refused(more: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = {"small_model_name": "a", "eval_model_name": "b", "dataset_name": "demo", "max_problems": 4}
    with pytest.raises(ValueError, match=message):
        make(FrontierSettings, **base | more)
