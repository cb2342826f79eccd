"""How well scores tell wrong from right: the count of pairs, what is a wrong chunk, and the program from end to end."""

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scores
import solutions
import sums
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from solutions import BREAK

from ATTS.demo import family
from ATTS.emulator import Scripted, Server
from ATTS.errors import UserError
from ATTS.flags import make

PROBLEM = next(family.problems("test", 0))


@st.composite
def items(draw: st.DrawFn) -> scores.Items:
    """Chunks with ties, some of them left out."""
    seed, n = draw(st.integers(0, 2**32)), draw(st.integers(60, 90))
    dice = np.random.default_rng(seed)
    wrong = dice.choice([0.0, 1.0, math.nan], n, p=(0.5, 0.4, 0.1))
    made = {"mean": dice.integers(0, 9, n) + 2 * (wrong == 1), "random": dice.random(n)}
    return scores.Items(np.arange(n) // 4, dice.integers(0, 3, n), wrong, made)


@settings(max_examples=20)
@given(items())
def test_auroc_is_the_share_of_pairs_whatever_the_scale_and_lies_in_its_interval(one: scores.Items) -> None:
    found = scores.auroc(one)
    assert found is not None
    bad, good = (one.scores["mean"][one.wrong == label] for label in (1, 0))
    assert found["mean"]["auroc"] == pytest.approx(stats.mannwhitneyu(bad, good).statistic / len(bad) / len(good))
    assert found["mean"]["low"] <= found["mean"]["auroc"] <= found["mean"]["high"]
    assert found["random"]["difference"] == pytest.approx(found["random"]["auroc"] - found["mean"]["auroc"])
    scaled = {name: np.exp(values / 3) for name, values in one.scores.items()}
    assert scores.auroc(scores.Items(one.question, one.turn, one.wrong, scaled)) == found


@settings(max_examples=20)
@given(items())
def test_a_group_compares_its_own_only(one: scores.Items) -> None:
    found = scores.auroc(one, one.turn)
    won = pairs = 0.0
    for turn in set(one.turn):
        bad, good = (one.scores["mean"][(one.wrong == label) & (one.turn == turn)] for label in (1, 0))
        won += sum((b > g) + (b == g) / 2 for b in bad for g in good)
        pairs += len(bad) * len(good)
    assert found is not None
    assert found["mean"]["auroc"] == pytest.approx(won / pairs)
    shifted = {name: values + 100 * one.question for name, values in one.scores.items()}
    within = scores.auroc(one, one.question)
    moved = scores.auroc(scores.Items(one.question, one.turn, one.wrong, shifted), one.question)
    assert (within is None) == (moved is None)
    assert within is None or moved is None or moved["mean"]["auroc"] == pytest.approx(within["mean"]["auroc"])


def test_few_wrong_ones_give_no_figure() -> None:
    wrong = np.array([1.0] * 9 + [0.0] * 50)
    assert scores.auroc(scores.Items(np.arange(59), np.zeros(59, dtype=int), wrong, {"mean": wrong})) is None


def test_the_first_wrong_step_is_wrong_and_what_stands_behind_it_is_left_out() -> None:
    first, second, third, *_ = (paragraph + BREAK for paragraph in solutions.paragraphs(PROBLEM))
    wrong = second.replace("=", "= 9", 1)

    def labels(*texts: str) -> list[float]:
        return scores.first_wrong({"problem": PROBLEM.question, "chunks": [{"text": text} for text in texts]})

    assert labels(first, second, third) == [0, 0, 0]
    np.testing.assert_array_equal(labels(first, wrong, third), [0, 1, math.nan])
    np.testing.assert_array_equal(labels(first + wrong, third), [1, math.nan])


def test_chains_are_scored_stored_and_told_again_without_servers(tmp_path: Path) -> None:
    """The emulated draft errs at four questions in ten, in its first chunk, which the target finds unlikelier."""
    base = {
        "small_model_name": "draft",
        "eval_model_name": "target",
        "dataset_name": str(sums.data(tmp_path / "sums.jsonl", range(30))),
        "turns": 4,
        "windows": (2,),
        "out": tmp_path / "out",
    }

    async def run(**more: int) -> str:
        target = sums.served("target")
        assert isinstance(target.content, Scripted)
        surer = replace(target.content, finder=lambda ask, own: [-0.05 for _ in own])  # noqa: ARG005
        async with Server(sums.served("draft")) as one, Server(replace(target, content=surer)) as two:
            urls = {"small_model_url": one.url, "eval_model_url": two.url}
            return await scores.main(make(scores.ScoreFigures, **base, **urls, **more))

    asyncio.run(run(max_problems=5))
    kept = (tmp_path / "out/chains.jsonl").read_text()
    text = asyncio.run(run())
    rows = [json.loads(line) for line in (tmp_path / "out/chains.jsonl").read_text().splitlines()]
    assert "".join(json.dumps(row) + "\n" for row in rows[:10]) == kept
    assert {(row["question"], row["repeat"]) for row in rows} == {(q, r) for q in range(30) for r in range(2)}
    told = json.loads((tmp_path / "out/scores.json").read_text())
    assert told["counts"] == {"questions": 30, "chains": 60, "wrong chains": 24, "chunks": 120}
    chains = told["auroc"]["a chain is wrong"]["all chains"]
    assert {chains[name]["auroc"] for name in ("mean", "worst_window", "worst_window_2", "worst_token")} == {1.0}
    assert 0.2 < chains["random"]["auroc"] < 0.8
    assert told["auroc"]["a chunk wrong if left alone"]["turn 0"]["mean"]["auroc"] == 1.0
    assert asyncio.run(scores.main(make(scores.ScoreFigures, **base))) == text
    with pytest.raises(UserError, match="holds chains of other settings"):
        asyncio.run(scores.main(make(scores.ScoreFigures, **base, small_model_temperature=0.1)))
