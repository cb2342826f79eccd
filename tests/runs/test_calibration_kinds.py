"""Calibration kinds by the commands that make and use them: emulated servers, real files, interruption."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import PAIR, QUESTIONS, chance, cut_off, entries_of

from ATTS.analysis import audit_rate, by_turn, run_decisions
from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.method.conformal import CalibrationSet, Online, PerTurn
from ATTS.runs import budget_prediction, rules
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration, decisions
from ATTS.store.result_folder import samples
from ATTS.tasks.datasets import Question


def writer(ask: Ask) -> Written:
    drawn = chance(ask.text, ask.role, writes[0])
    writes[0] += 1
    if drawn.random() < 0.15:
        return Written(rf"\boxed{{{drawn.randrange(5)}}}", "stop")
    return Written(f" {drawn.randrange(1000)} and", "length")


def scorer(ask: Ask, start: int) -> list[float | None]:
    return [-chance(ask.text).random() * (1 + ask.text.count("and") / 4)] * (len(ask.ids) - start)


writes = [0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    rows = [{"problem": f"{q.problem}, {i}", "answer": q.answer, "group": q.group} for i, q in enumerate(QUESTIONS * 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def with_servers(use: Any, **flags: Any) -> Any:
    """Runs ``use(flags of the pair)`` while an emulated draft and target are up."""

    async def run() -> Any:
        content = Scripted(writer, scorer)
        draft, target = (Server(Served(role=role, name=role[0], content=content)) for role in ("draft", "target"))
        async with draft, target:
            return await use({**PAIR, "small_model_url": draft.url, "eval_model_url": target.url, **flags})

    return asyncio.run(run())


def entries(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for sample in samples(folder):
        for entry in sample["full_history"]:
            if entry["model"] == "eval_ppl":
                yield sample, entry


def test_calibration_by_turn_runs_the_loop_and_a_run_judges_each_turn_by_its_own(data: Path, tmp_path: Path) -> None:
    """Also: interrupted after some steps it goes on without doing them again; the wrong kinds are refused, and too
    few questions before any request."""
    array = tmp_path / "turns.npy"
    few = {"dataset_name": str(data), "ppl_array_path": array, "sample_size": 6, "turns": 4}
    with pytest.raises(UserError, match="worth 20 independent ones, and those of 10 questions are worth 15"):
        with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **few)
    rows = [{"problem": f"{q.problem}, {i}", "answer": q.answer} for i, q in enumerate(QUESTIONS * 6)]
    data = tmp_path / "more.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {"dataset_name": str(data), "ppl_array_path": array, "sample_size": 2, "turns": 4}

    def partial() -> list[dict[str, Any]]:
        return entries_of(array.with_suffix(".partial.jsonl"))

    with_servers(
        lambda pair: cut_off(
            calibrate(make(ConformalSettings, **pair), False),
            lambda: any(entry.get("turn") == 1 for entry in partial()),
        ),
        **flags,
    )
    kept = partial()
    scored = [entry for entry in kept if "score" in entry]
    assert {entry["turn"] for entry in scored} >= {0, 1}
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **flags)
    made = calibration.load(array, False, per_turn=True)
    assert made.turns is not None
    assert made.questions is not None
    rows = set(zip(made.turns.tolist(), made.questions.tolist(), made.scores.tolist(), strict=True))
    assert {(e["turn"], e["row"], e["score"]) for e in scored} <= rows
    assert set(made.turns.tolist()) == {0, 1, 2, 3}
    assert made.provenance is not None
    assert made.provenance["scores_by_turn"]["0"] == (made.turns == 0).sum() <= 60

    run = {"dataset_name": str(data), "ppl_array_path": array, "repeats": 1, "turns": 6, "output_dir": tmp_path / "run"}
    chosen = {**run, "calibration": "per_turn"}
    with_servers(lambda pair: evaluate_async(make(AsyncSettings, **pair), False), **chosen)
    judge = PerTurn(made.by_turn, 0.4, questions=made.questions_by_turn)
    count = 0
    for _, entry in entries(tmp_path / "run"):
        verdict = judge(entry["ppl"], entry["turn"])
        assert (entry["percentile"], entry["rejected"]) == verdict[:2]
        assert "order" not in entry
        count += 1
    assert count > 30
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert sum(row["stopped"] for row in summary["by_turn"]) == 30
    assert summary["by_turn"][-1]["accuracy"] == pytest.approx(summary["mean_accuracy"])
    written = summary["by_turn"][-1]["tokens"]
    assert written["draft"] * 30 == pytest.approx(summary["written_tokens"]["draft"])
    by_turn.picture({"run": summary["by_turn"]}, tmp_path / "turns.png")
    assert (tmp_path / "turns.png").read_bytes().startswith(b"\x89PNG")
    assert len(by_turn.table(summary["by_turn"]).splitlines()) == 2 + len(summary["by_turn"])

    for kind, message in (("marginal", "only --calibration per_turn"), ("grouped", "only --calibration per_turn")):
        with pytest.raises(UserError, match=message):
            rules.make(make(AsyncSettings, **PAIR, **run, calibration=kind), False, QUESTIONS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"rejection_rate: made with 0\.4, now 0\.2"):
        rules.make(make(AsyncSettings, **PAIR, **chosen, rejection_rate=0.2), False, QUESTIONS)


def test_a_run_that_learns_numbers_its_decisions_and_each_follows_from_those_before(data: Path, tmp_path: Path) -> None:
    """Through real requests, several at a time, interrupted and resumed: what is decided after the resume is what
    all decisions before it lead to, those of unfinished samples too; a question's samples don't come in a row."""
    flags = {"dataset_name": str(data), "repeats": 4, "turns": 8, "output_dir": tmp_path, "calibration": "adaptive"}

    def enough() -> bool:
        return len(list(tmp_path.glob("problem_*.json"))) >= 12

    with_servers(lambda pair: cut_off(evaluate_async(make(AsyncSettings, **pair), False), enough), **flags)
    kept = {s["problem_index"] for s in samples(tmp_path) if s["exit_status"] != "cancelled"}
    assert 0 < len(kept) < 40
    assert len({index // 4 for index in kept}) > len(kept) / 4
    before = sorted((e for s, e in entries(tmp_path) if s["problem_index"] in kept), key=lambda e: e["order"])
    interrupted = list(decisions.read(tmp_path / decisions.JOURNAL))
    assert {entry["order"] for entry in before} < {entry["order"] for entry in interrupted}
    with_servers(lambda pair: evaluate_async(make(AsyncSettings, **pair), False), **flags)
    judge = Online(0.4, gamma=1 / 19)
    for entry in interrupted:
        judge.learn(entry["score"], entry["turn"], entry["rejected"])
        judge.decisions = entry["order"] + 1
    orders = [entry["order"] for _, entry in entries(tmp_path)]
    assert sorted(orders) == list(range(len(orders)))  # chains under way have gone on with their decisions
    after = sorted((e for _, e in entries(tmp_path) if e["order"] >= len(interrupted)), key=lambda e: e["order"])
    assert len(after) > 20
    for entry in after:
        verdict = judge(entry["ppl"], entry["turn"])._asdict()
        assert {name: value for name, value in verdict.items() if value is not None} == {
            name: entry[name] for name in verdict if entry.get(name) is not None
        }
    made = run_decisions.decisions(list(samples(tmp_path)), 4)
    assert set(made.group.tolist()) == {"even", "odd"}
    assert len(made) == len(orders)


def test_groups_have_thresholds_of_their_own(data: Path, tmp_path: Path) -> None:
    array = tmp_path / "a.npy"
    flags = {"dataset_name": str(data), "ppl_array_path": array}
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **flags, sample_size=4)
    made = calibration.load(array, False)
    run = {**flags, "repeats": 2, "output_dir": tmp_path / "run", "calibration": "grouped"}
    with_servers(lambda pair: evaluate_async(make(AsyncSettings, **pair), False), **run)
    by_group = made.by_group
    assert set(by_group) == {"even", "odd"}  # how many each has follows from which questions are scored
    assert sum(map(len, by_group.values())) == 40
    assert sorted(itertools.chain(*map(np.ndarray.tolist, by_group.values()))) == sorted(made.scores.tolist())
    for sample, entry in entries(tmp_path / "run"):
        assert entry["percentile"] == CalibrationSet(by_group[sample["group"]], 0.4)(entry["ppl"]).percentile
    found, about, repeats = run_decisions.read(tmp_path / "run", None)
    decided = run_decisions.decisions(found, repeats)
    assert (audit_rate.again(audit_rate.Rule("grouped"), decided, made) == decided.rejected).all()
    assert audit_rate.recorded_kind(about) == "grouped"
    other = [Question(0, "question 0, 0", "0", group="third")]
    with pytest.raises(UserError, match="no scores of the group 'third'"):
        rules.make(make(AsyncSettings, **PAIR, **run), False, other)
    np.save(tmp_path / "b.npy", made.scores)
    with pytest.raises(UserError, match="doesn't tell the groups"):
        rules.make(make(AsyncSettings, **PAIR, **{**run, "ppl_array_path": tmp_path / "b.npy"}), False, QUESTIONS)


@pytest.mark.parametrize("per_question", [False, True])
def test_a_budget_is_reported_question_by_question(data: Path, tmp_path: Path, per_question: bool) -> None:
    array = tmp_path / "a.npy"
    flags = {"dataset_name": str(data), "ppl_array_path": array}
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), per_question), **flags)
    run = {**flags, "takeover_budget": 4, "output_dir": tmp_path / "run"}
    shown = with_servers(lambda pair: budget_prediction.predict(make(BudgetSettings, **pair), per_question), **run)
    result = json.loads((tmp_path / "run/budget.json").read_text())
    assert (result["budget"], result["repeats"], result["percentile_threshold"]) == (4, 16, 0.75)
    n = 16 if per_question else 160
    assert result["calibration_scores"] == n
    counted = [e["rejected"] for _, e in entries(tmp_path / "run")]
    assert (result["scored"], result["realised"]) == (len(counted), sum(counted))
    assert result["asked"] == len(counted) / 4
    assert result["expected"] == pytest.approx(len(counted) * (n + 1 - 0.75 * n) / (n + 1))
    assert len(result["by_question"]) == 10
    assert all(row["low"] <= row["expected"] <= row["high"] for row in result["by_question"])
    assert result["low"] <= result["rate"] <= result["high"]
    assert result["mean_accuracy"] == json.loads((tmp_path / "run/summary.json").read_text())["mean_accuracy"]
    assert shown.endswith("budget.json")
    assert budget_prediction.report(tmp_path / "run", 4) == result


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"calibration": "marginal"}, 1),
        ({"calibration": "grouped"}, 1),
        ({"calibration": "marginal", "turns": 1}, 0),
        ({"calibration": "marginal", "rejection_rate": 0.0}, 0),
    ],
)
def test_a_run_says_once_that_an_array_of_first_chunks_knows_no_later_turns(
    more: dict[str, Any], told: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make(AsyncSettings, **PAIR, dataset_name="math500", ppl_array_path=tmp_path / "a.npy", **more)
    about = {
        "made_for": rules.purpose(settings),
        "question_ids": [question.id for question in QUESTIONS],
        "groups": [question.group for question in QUESTIONS],
        calibration.COUNTS: [2] * len(QUESTIONS),
    }
    calibration.save(tmp_path / "a.npy", np.linspace(1, 2, 2 * len(QUESTIONS)), about)
    rules.make(settings, False, QUESTIONS)
    assert capsys.readouterr().err.count("later turns are not calibrated") == told
