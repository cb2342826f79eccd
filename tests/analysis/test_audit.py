"""The rate of finished runs, and what other calibrations would have given: recorded runs and small ones."""

import asyncio
import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import decision
import guarantees
import guarantees_recorded
import guarantees_simulated
import numpy as np
import pytest
import rate_live
from conftest import door
from hypothesis import given
from hypothesis import strategies as st

from ATTS.analysis import run_decisions
from ATTS.analysis.audit_rate import AuditSettings, Rule, again, audited
from ATTS.analysis.run_decisions import Decisions
from ATTS.errors import UserError
from ATTS.method.conformal import CalibrationSet
from ATTS.store.array_file import BY_TURN
from ATTS.store.calibration import CalibrationArray
from ATTS.store.recording import read_results

KEYS = ["calibration", "nominal", "n", "rate", "low", "high", "by_turn", "by_question"]


def sample(index: int, *scores: float, **more: Any) -> dict[str, Any]:
    """As published: a sample whose every chunk above 2 was continued."""
    history: list[dict[str, Any]] = []
    for turn, ppl in enumerate(scores):
        history.append({"turn": turn, "model": "eval_ppl", "ppl": ppl, "percentile": 0.0})
        if ppl > 2:
            history.append({"turn": turn, "model": "eval_generate", "output": "x"})
    return {"problem_index": index, "full_history": history, "final_answer": "1", "duration_seconds": 1.0, **more}


def audit_of(**flags: Any) -> dict[str, Any]:
    return dict(json.loads(asyncio.run(audited(AuditSettings(json=True, **flags)))))


@pytest.fixture(scope="module")
def runs(traces: Path) -> dict[str, Decisions]:
    """The recorded runs' decisions."""
    return guarantees.recordings(traces.parent)


def test_a_published_folder_and_its_recording_tell_the_same(
    traces: Path, published_arrays: Path, tmp_path: Path
) -> None:
    """The realised rate is that of the recording, and the array it used decides every chunk the same again."""
    recording = traces / "traces_math500_ct1.jsonl.gz"
    for content in read_results(recording):
        (tmp_path / f"problem_{content['problem_index']:04d}.json").write_text(json.dumps(content))
    told = door("audit_rate", "--input_dir", str(tmp_path), "--json", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    from_folder = json.loads(told.stdout)
    assert list(from_folder) == KEYS
    assert from_folder == audit_of(input_dir=recording, picture=tmp_path / "rates.svg")
    drawn = (tmp_path / "rates.svg").read_text()
    assert "asked" in drawn
    assert "realised (95 %)" in drawn
    with gzip.open(recording, "rt") as lines:
        turns = [turn for line in lines for turn in json.loads(line)["turns"] if turn["ppl"] is not None]
    assert from_folder["n"] == len(turns) == sum(row["n"] for row in from_folder["by_turn"])
    assert from_folder["n"] == sum(row["n"] for row in from_folder["by_question"])
    assert from_folder["rate"] == np.mean([turn["target_text"] is not None for turn in turns])
    assert from_folder["nominal"] == 0.4
    assert len(from_folder["by_question"]) == 70
    array = published_arrays / "ppls_math500_qwq_32B_rllama_8B_s16_t500_temp0.8_ct1__397d5a21.npy"
    same = audit_of(input_dir=recording, calibration="marginal", ppl_array_path=array)
    assert {**same, "calibration": "recorded"} == from_folder


def test_recorded_runs_keep_the_rate_where_their_own_calibration_did_not(runs: dict[str, Decisions]) -> None:
    """The evidence of docs/GUARANTEES.md at a tenth of its size."""
    assert len(runs) >= 3
    for made in runs.values():
        by_turn = guarantees_recorded.per_turn(made, splits=40)
        assert min(row["inside"] for row in by_turn) > 0.8, by_turn  # of 40 splits; 0.9 of 200
        assert by_turn[0]["inside, scores as independent"] < 0.7
        others = dataclasses.replace(made, score=1 + 2 * (made.score - 1))
        missed = guarantees_recorded.per_turn(made, splits=10, calibration=others)
        assert max(row["inside"] for row in missed) < 0.5, missed
        followed = guarantees_recorded.adaptive(made, shuffles=5)
        assert followed["reached"], followed
        learnt = guarantees_recorded.online(made, shuffles=5)
        assert learnt["reached"], learnt


def test_groups_keep_the_rate_where_one_set_for_all_does_not(
    runs: dict[str, Decisions], published_arrays: Path
) -> None:
    for groups in guarantees.mixtures(published_arrays.parent, runs).values():
        rows = guarantees_recorded.grouped(groups, splits=40)
        assert all(row["reached"] for row in rows), rows
        assert max(abs(row["marginal"] - 0.4) for row in rows) > 0.05
    mixture = guarantees.mixtures(published_arrays.parent, runs)["math500_ct1"]
    assert min(row["inside, marginal"] for row in guarantees_recorded.grouped(mixture, splits=40)) < 0.3


def test_simulated_runs_cover_as_often_as_they_say() -> None:
    for n in (16, 256):
        figures = guarantees_simulated.exchangeable(n, runs=800)
        assert figures["reached"], figures
    figures = guarantees_simulated.by_question(60, runs=150)
    assert min(figures["over questions"], figures["promise"]) > 0.9
    assert figures["pooled"] < 0.7
    assert len(guarantees.table([figures]).splitlines()) == 3


def test_every_kind_of_calibration_can_be_timed() -> None:
    rows = decision.measure(30, batches=3)
    assert {row["calibration"] for row in rows} == {"array", "online", "adaptive", "online, bounded"}
    assert all(row["best us"] > 0 for row in rows)


RUN = st.lists(
    st.lists(st.lists(st.floats(1, 4), min_size=1, max_size=4), min_size=2, max_size=3), min_size=3, max_size=6
)


@given(RUN)
def test_a_chunk_is_never_judged_by_its_own_question(run: list[list[list[float]]]) -> None:
    """Marginal: by the first chunks of all other questions; per question: of the question's other samples."""
    found = [sample(3 * q + r, *scores) for q, question in enumerate(run) for r, scores in enumerate(question)]
    made = run_decisions.decisions(found, repeats=3)
    marginal, own = again(Rule("marginal"), made), made.turn == 0
    for number in range(len(made)):
        others = made.score[own & (made.question != made.question[number])]
        assert marginal[number] == CalibrationSet(others, 0.4)(float(made.score[number])).rejected
    if all(len(question) == 3 for question in run):
        conditional = again(Rule("per_question"), made)
        for number in range(len(made)):
            mates = made.score[own & (made.question == made.question[number]) & (made.sample != made.sample[number])]
            assert conditional[number] == CalibrationSet(mates, 0.4)(float(made.score[number])).rejected


@given(RUN, st.integers(0, 99))
def test_orders_hold_every_decision_once_and_each_samples_in_its_order(run: list[list[list[float]]], seed: int) -> None:
    found = [sample(3 * q + r, *scores) for q, question in enumerate(run) for r, scores in enumerate(question)]
    made = run_decisions.decisions(found, repeats=3)
    for order in (guarantees_recorded.interleaved(made, seed), guarantees_recorded.one_after_another(made, seed)):
        assert sorted(order.tolist()) == list(range(len(made)))
        shuffled = made.take(order)
        for number in np.unique(made.sample):
            assert (np.diff(shuffled.turn[shuffled.sample == number]) > 0).all()
    assert (guarantees_recorded.one_after_another(made) == np.arange(len(made))).all()
    halves = list(guarantees_recorded.halves(np.unique(made.question), 4))
    assert sorted([*halves[0], *halves[1]]) == np.unique(made.question).tolist()


def test_decisions_come_in_the_order_that_was_recorded() -> None:
    def numbered(index: int, *orders: int) -> dict[str, Any]:
        made = sample(index, *([1.5] * len(orders)))
        for entry, order in zip(made["full_history"], orders, strict=True):
            entry["order"] = order
        return made

    made = run_decisions.decisions([numbered(0, 1, 4), numbered(1, 0, 2), numbered(2, 3)], repeats=2)
    assert made.sample.tolist() == [1, 0, 1, 2, 0]
    assert made.question.tolist() == [0, 0, 0, 1, 0]
    mixed = run_decisions.decisions([numbered(0, 5), sample(1, 1.5)], repeats=2)
    assert mixed.sample.tolist() == [0, 1]


def test_what_can_not_be_audited_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a result folder nor a recording"):
        audit_of(input_dir=tmp_path / "none")
    with pytest.raises(UserError, match="no finished samples"):
        audit_of(input_dir=tmp_path)
    path = tmp_path / "problem_0000.json"
    path.write_text(json.dumps(sample(0)))
    with pytest.raises(UserError, match="record no score"):
        audit_of(input_dir=tmp_path)
    path.write_text(json.dumps(sample(0, float("inf"))))
    with pytest.raises(UserError, match="not finite"):
        audit_of(input_dir=tmp_path)
    path.write_text(json.dumps(sample(0, 1.5)))
    with pytest.raises(UserError, match="0 calibration scores are too few"):
        audit_of(input_dir=tmp_path, calibration="marginal")
    with pytest.raises(UserError, match="tell no group"):
        audit_of(input_dir=tmp_path, calibration="grouped")
    with pytest.raises(ValueError, match="--ppl_array_path is for"):
        AuditSettings(input_dir=tmp_path, calibration="online", ppl_array_path=path)
    assert audit_of(input_dir=tmp_path)["by_question"] == [
        {"question": 0, "n": 1, "rate": 0.0, "low": 0.0, "high": 1.0}
    ]
    np.save(tmp_path / "rows.npy", np.ones((2, 3)))
    (tmp_path / "problem_0000.json").write_text(json.dumps(sample(40, 1.5)))
    with pytest.raises(UserError, match=r"rows\.npy: it has no scores for question 2"):
        audit_of(input_dir=tmp_path, calibration="per_question", ppl_array_path=tmp_path / "rows.npy")


def test_a_live_measurement_names_every_turn_that_misses() -> None:
    rows = [(turn, question, float(question)) for turn in range(4) for question in range(1000)]
    entries = np.array(rows, dtype=BY_TURN)
    array = CalibrationArray(entries["score"], "", None, entries["turn"], entries["question"])
    row = {"turn": 0, "n": 500, "rate": 0.43, "low": 0.4, "high": 0.5}
    rates = {"nominal": 0.4, "by_turn": [row, row | {"turn": 1, "rate": 0.48}, row | {"turn": 2, "n": 399}]}
    assert rate_live.missed(rates, array) == [
        "turn 1: the rate is +3.0 standard deviations off, at most 2.5 is chance",
        "turn 2: 399 decisions, 400 are needed",
        "turn 3: 0 decisions, 400 are needed",
    ]
