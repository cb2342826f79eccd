"""Runs of every calibration kind: by each score, at rates of 0 and 1, by coin and resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering_draft import PAIR, QUESTIONS, Says, asking, for_turns, making, with_servers

from ATTS.analysis import audit_rate, run_decisions
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.method.conformal import CalibrationSet, PerTurn, RejectionRule
from ATTS.method.score import SCORES
from ATTS.runs import names, questions, rules
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration
from ATTS.store.result_folder import samples


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, Any]:
    return asking(tmp_path, QUESTIONS)


@pytest.mark.parametrize("kind", ["marginal", "per_question", "per_turn", "grouped", "online", "adaptive"])
def test_the_sum_is_calibrated_decided_recorded_and_audited_like_the_mean(tmp_path: Path, kind: str) -> None:
    """Through every kind; perplexity is recorded beside it; arrays of the other score are refused."""
    own = kind == "per_question"
    flags, made_by = for_turns(tmp_path, 3 if kind == "per_turn" else 1)
    array = flags["ppl_array_path"]
    run: dict[str, Any] = {"repeats": 4, "turns": 3, "output_dir": tmp_path / "run", "score": "sum"}
    if kind not in ("marginal", "per_question"):
        run["calibration"] = kind

    async def running(pair: dict[str, Any]) -> None:
        if kind == "online":
            del pair["ppl_array_path"]
        await evaluate_async(make(AsyncSettings, **pair, **run), own)

    with_servers(Says(), making(own, score="sum", **made_by), running, **flags)
    made = calibration.load(array, None)
    assert made.score.name == "sum"
    assert np.nanmin(made.scores) >= 0
    found, about, repeats = run_decisions.read(tmp_path / "run", None)
    decided = run_decisions.decisions(found, repeats)
    entries = [e for s in found for e in s["full_history"] if e["model"] == "eval_ppl"]
    assert sorted(e["sum"] for e in entries) == sorted(decided.score.tolist())
    assert all(1 <= e["ppl"] <= np.e for e in entries)
    assert max(e["sum"] for e in entries) > 3
    judge = {
        "per_turn": lambda: PerTurn(made.by_turn, 0.4, questions=made.questions_by_turn),
        "marginal": lambda: CalibrationSet(made.scores, 0.4),
    }
    for entry in entries if kind in judge else []:
        verdict = judge[kind]()(entry["sum"], entry["turn"])
        assert (entry["percentile"], entry["rejected"]) == verdict[:2]
    rule = audit_rate.Rule(kind)  # type: ignore[arg-type]
    used = None if kind == "online" else made
    assert (audit_rate.again(rule, decided, used, audit_rate.rows_of(made, found)) == decided.rejected).all()
    audit_rate.same_score(array, made, about)
    with pytest.raises(UserError, match="--score sum; this run was decided by --score mean"):
        audit_rate.same_score(array, made, {"settings": {}})
    asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **flags).data)
    if kind != "online":
        with pytest.raises(UserError, match="score: made with 'sum', now 'mean'"):
            rules.make(make(AsyncSettings, **PAIR, **flags, **{**run, "score": "mean"}), own, asked)
    if kind == "marginal":  # an array that tells nothing holds perplexities, as the published ones do
        array.with_suffix(".json").unlink()
        np.save(array, made.scores + 1)
        with pytest.raises(UserError, match="it is taken for 'mean'"):
            rules.make(make(AsyncSettings, **PAIR, **flags, **run), own, asked)


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize(
    ("score", "other", "message"),
    [
        ({"score": "regret"}, {"score": "worst_token"}, "score: made with 'regret', now 'worst_token'"),
        ({"score": "worst_token"}, {"score": "sum"}, "score: made with 'worst_token', now 'sum'"),
        (
            *({"score": "worst_window", "score_window": 3}, {"score": "worst_window"}),
            "score_window: made with 3, now 5",
        ),
    ],
)
def test_scores_of_a_chunks_worst_part_are_calibrated_decided_and_recorded(
    tmp_path: Path, score: dict[str, Any], other: dict[str, Any], message: str, turns: int
) -> None:
    """First chunks and turn by turn, with chunks that are replaced; the array remembers score and window."""
    flags, calibration_of = for_turns(tmp_path, turns)
    resample: dict[str, Any] = {"on_rejection": "resample", **score}
    run = {**resample, "repeats": 4 if turns == 1 else 1, "turns": 3, "output_dir": tmp_path / "run"}
    run["calibration"] = "per_turn" if turns > 1 else "marginal"

    async def running(pair: dict[str, Any]) -> None:
        await evaluate_async(make(AsyncSettings, **pair, **run), False)

    with_servers(Says(), making(**calibration_of, **resample), running, **flags)
    made = calibration.load(flags["ppl_array_path"], None)
    assert (made.score.name, made.score_window) == (score["score"], score.get("score_window"))
    judge: RejectionRule = CalibrationSet(made.scores, 0.4)
    if turns > 1:
        judge = PerTurn(made.by_turn, 0.4, questions=made.questions_by_turn)
    found, about, _ = run_decisions.read(tmp_path / "run", None)
    entries = [e for s in found for e in s["full_history"] if e["model"] == "eval_ppl"]
    assert len(entries) > 20
    for entry in entries:
        decided_by, worst = entry[score["score"]], np.log(entry["ppl"])  # all tokens of a chunk are alike here
        expected = max(0, worst - 0.01) * 2 / 3 if score["score"] == "regret" else worst
        assert decided_by == pytest.approx(expected)
        assert (entry["percentile"], entry["rejected"]) == judge(decided_by, entry["turn"])[:2]
    audit_rate.same_score(flags["ppl_array_path"], made, about)
    changed = make(AsyncSettings, **PAIR, **flags, **{**run, **other, "score_window": None})
    with pytest.raises(UserError, match=message):
        rules.make(changed, False, questions.to_evaluate(changed.data))
    settings = {"settings": {"score": changed.scoring.score, "score_window": changed.scoring.score_window}}
    with pytest.raises(UserError, match="this run was decided by --score"):
        audit_rate.same_score(flags["ppl_array_path"], made, settings)


def test_the_two_commands_find_each_others_arrays_of_each_score() -> None:
    for per_question in (False, True):
        paths = set()
        for score in (*SCORES, "worst_window 9"):
            name, _, window = score.partition(" ")
            more: dict[str, Any] = {"score": name, "score_window": int(window) if window else None}
            run = make(AsyncSettings, **PAIR, dataset_name="demo", **more)
            array = make(ConformalSettings, **PAIR, dataset_name="demo", **more)
            assert names.calibration_array(run, per_question) == names.calibration_array(array, per_question)
            paths |= {names.calibration_array(run, per_question), names.async_results(run, per_question)}
        assert len(paths) == 2 * (len(SCORES) + 1)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["marginal", "per_question", "per_turn", "grouped", "online", "adaptive", "random"])
def test_a_run_at_a_rate_of_0_or_1_hands_over_nothing_or_everything(
    flags: dict[str, Any], tmp_path: Path, kind: str, rate: float
) -> None:
    own = kind == "per_question"
    run: dict[str, Any] = {"repeats": 2, "turns": 2, "output_dir": tmp_path / "run", "rejection_rate": rate}
    if kind == "random":
        run["takeover"] = "random"
    elif not own:
        run["calibration"] = kind
    by_turn = {"turns": 2, "rejection_rate": rate} if kind == "per_turn" else {}

    async def running(pair: dict[str, Any]) -> None:
        if kind == "online":
            del pair["ppl_array_path"]
        await evaluate_async(make(AsyncSettings, **pair, **run), own)

    with_servers(Says(), making(own, **by_turn), running, **flags)
    decided = [e["rejected"] for s in samples(tmp_path / "run") for e in s["full_history"] if e["model"] == "eval_ppl"]
    assert len(decided) >= 8  # two turns of four samples that never answer; the others as it comes
    assert set(decided) == {bool(rate)}


def test_a_resumed_run_by_coin_throws_for_each_sample_what_it_threw_before(
    flags: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The array, which no coin needs, may be missing; that it isn't read is said."""
    out = tmp_path / "run"
    run: dict[str, Any] = {"repeats": 4, "turns": 3, "output_dir": out, "takeover": "random"}

    def throws() -> dict[tuple[int, int], float]:
        return {
            (s["problem_index"], e["turn"]): e["percentile"]
            for s in samples(out)
            for e in s["full_history"]
            if e["model"] == "eval_ppl"
        }

    async def running(pair: dict[str, Any]) -> None:
        await evaluate_async(make(AsyncSettings, **pair, **run), False)

    with_servers(Says(never=True), running, **flags)
    assert "a.npy is not read" in capsys.readouterr().err
    whole = throws()
    assert len(set(whole.values())) == len(whole) > 40
    for index in (1, 2, 7, 18):
        (out / f"problem_{index:04d}.json").unlink()
    with_servers(Says(never=True), running, **flags)
    again = throws()
    assert {index for index, _ in again} == set(range(20))
    assert all(again[key] == whole[key] for key in again.keys() & whole.keys())
