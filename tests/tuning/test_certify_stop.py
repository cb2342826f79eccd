"""Certificates for thresholds of stop rules: what is counted, what passes, what doesn't."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import door
from test_search import folder

from ATTS.analysis.voting import RIGHT
from ATTS.errors import UserError
from ATTS.tuning.certify_stop import CertifyStopSettings, certify_stop, of_questions
from ATTS.tuning.replay import Sample, Turn
from ATTS.votes.stop import rule


def question(*votes: str | None) -> list[Sample]:
    return [Sample(vote, (Turn(10, None),)) for vote in votes]


def test_what_a_stopped_vote_loses_and_gains_is_counted_over_orders() -> None:
    """esc 2 takes the first answer that comes twice in a row: nothing to lose where all agree, nothing to stop where
    none do; where 4 of 6 are right, both wrong ones make the first pair in one order of 15."""
    questions = {
        0: question(*[RIGHT] * 6),
        1: question(*"abcdef"),
        2: question(*[RIGHT] * 4, "w", "w"),
        3: question(*["w"] * 4, RIGHT, RIGHT),
        4: question(None, None, None, None, RIGHT, RIGHT),
    }
    lost, gained, used, tokens = of_questions(questions, 6, rule("esc", 2), orders=20_000)
    assert lost[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]
    assert gained[[0, 1, 2, 4]].tolist() == [0, 0, 0, 0]
    assert [lost[2], gained[3]] == pytest.approx([1 / 15, 1 / 15], abs=0.006)
    assert used[[0, 1]].tolist() == [2, 6]
    assert tokens == pytest.approx(used / 6)


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nearly all samples are right: a stopped vote hardly differs from the full one."""
    return folder(tmp_path_factory.mktemp("runs") / "sure", right=1.3, questions=80)


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Right and wrong answers are about as frequent: early votes are often wrong where all are right."""
    return folder(tmp_path_factory.mktemp("runs") / "torn", right=0.55, questions=80)


def ask(run: Path, **more: Any) -> CertifyStopSettings:
    return CertifyStopSettings(**{"run": run, "max_loss": 0.05} | more)


def test_the_boldest_threshold_that_holds_is_certified(sure: Path, tmp_path: Path) -> None:
    text = asyncio.run(certify_stop(ask(sure, output=tmp_path / "c.json")))
    found = json.loads((tmp_path / "c.json").read_text())
    assert [row["threshold"] for row in found["tried"]] == [0.99, 0.95, 0.9, 0.8]
    certified = [row["threshold"] for row in found["tried"] if row["certified"]]
    assert certified
    assert text.endswith(f"--stop beta --stop_threshold {certified[-1]:g}")
    used = [row["samples"] for row in found["tried"]]
    assert used == sorted(used, reverse=True)
    assert all(row["lost"] <= row["bound"] <= 1 for row in found["tried"])
    assert all(row["bound"] <= 0.05 for row in found["tried"] if row["certified"])


def test_a_rule_that_loses_too_much_is_not_certified(torn: Path, tmp_path: Path) -> None:
    """The gate can fail: the same command on samples that disagree."""
    done = door("certify_stop", str(torn), "--stop", "asc", "--stop_thresholds", "0.6", cwd=tmp_path)
    assert done.returncode == 2
    assert "which no number of questions helps" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.rstrip().endswith("| no |")


def test_too_few_questions_say_how_many_it_takes(tmp_path: Path) -> None:
    few = folder(tmp_path / "few", right=1.3, questions=6)
    with pytest.raises(UserError, match=r"with losses like its own it takes about \d+ questions"):
        asyncio.run(certify_stop(ask(few)))


def test_runs_that_cannot_tell_are_refused(sure: Path) -> None:
    with pytest.raises(UserError, match="samples without a confidence"):
        asyncio.run(certify_stop(ask(sure, stop="es")))
    with pytest.raises(UserError, match="must lie between"):
        asyncio.run(certify_stop(ask(sure, stop_thresholds=(1.5,))))
