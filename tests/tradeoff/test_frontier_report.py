"""The frontier of finished runs: costs, fronts, curves, and that table, JSON and picture say the same."""

import json
from pathlib import Path

import pytest
import sums
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.store.result_folder import read_summary, samples
from ATTS.tradeoff.curves import curves
from ATTS.tradeoff.frontier_report import front, report

RATES = (0.9, 0.5, 0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sums.make(tmp_path_factory.mktemp("runs"), 40, RATES)


def test_costs_and_differences_are_those_of_the_folders(made: Path) -> None:
    told = report([made], 0.2)
    rows = {row.run: row for row in told.rows}
    assert list(rows)[:2] == ["target", "draft"]  # and the settings behind them
    summaries = {name: read_summary(made / name) for name in rows}
    alone = summaries["target"]["written_tokens"]["draft"] / summaries["target"]["samples"]
    for name, row in rows.items():
        assert row.accuracy.mean == pytest.approx(summaries[name]["mean_accuracy"])
        assert row.wall_seconds == summaries[name]["wall_seconds"]
        if name.startswith("atts"):
            written = summaries[name]["written_tokens"]["target"] / row.samples
            assert row.target_tokens == pytest.approx(written / alone)
            scored = sum(
                drafted["tokens"]
                for sample in samples(made / name)
                for drafted, scored in zip(sample["full_history"], sample["full_history"][1:], strict=False)
                if scored["model"] == "eval_ppl"
            )
            assert row.scored_tokens == pytest.approx(scored / row.samples / alone)
            assert (row.rate, row.kind, row.on_rejection, row.score) == (
                float(name[5:]),
                "marginal",
                "continue",
                "mean",
            )
            assert row.difference is not None
            assert row.difference.mean == pytest.approx(row.accuracy.mean - rows["target"].accuracy.mean)
    assert (rows["target"].target_tokens, rows["target"].draft_tokens) == (1, 0)
    assert (rows["draft"].target_tokens, rows["draft"].difference is None) == (0, False)
    assert rows["atts_0.5"].non_inferior
    assert not rows["atts_0.1"].non_inferior
    assert not rows["draft"].non_inferior
    assert rows["target"].non_inferior is None
    assert rows["atts_0.5"].front_tokens  # all right for a part of the target's tokens
    assert not rows["target"].front_tokens
    assert rows["draft"].front_tokens  # nobody is cheaper


def test_table_json_and_picture_are_of_the_same_runs(made: Path, tmp_path: Path) -> None:
    done = door("frontier_report", str(made), "--picture", "f.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(door("frontier_report", str(made), "--json", cwd=tmp_path).stdout)
    assert [row["run"] for row in told["rows"]] == names == list(told["curves"])
    assert {f"atts_{rate:g}" for rate in RATES} < set(names)


def test_curves_end_where_the_run_is(made: Path) -> None:
    """With all samples and turns they are the summary's accuracy, vote and best sample; on the way they grow."""
    for name in ("atts_0.5", "atts_0.1", "draft"):
        summary = read_summary(made / name)
        found = curves(list(samples(made / name)), 2)
        for last in (found.samples[-1], found.turns[-1]):
            assert last.mean.mean == pytest.approx(summary["mean_accuracy"])
            assert last.majority.mean == pytest.approx(summary["majority_at_k"]["2"])
            assert last.any.mean == pytest.approx(summary["pass_at_k"]["2"])
        assert [at.count for at in found.samples] == [1, 2]
        turns = [at.mean.mean for at in found.turns]
        assert turns == sorted(turns)
        assert turns[-1] == pytest.approx(summary["by_turn"][-1]["accuracy"])
        assert turns == pytest.approx([row["accuracy"] for row in summary["by_turn"]])


points = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, None]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=8
)


@given(points)
def test_whatever_is_off_the_front_is_beaten_by_something_on_it(found: list[tuple[float | None, float]]) -> None:
    on = front(found)
    best = [point for point, there in zip(found, on, strict=True) if there]
    for (cost, value), there in zip(found, on, strict=True):
        if cost is None:
            assert not there
            continue
        dominated = any(c is not None and c <= cost and v >= value and (c, v) != (cost, value) for c, v in best)
        assert there != dominated
