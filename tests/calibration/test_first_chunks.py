"""Calibration through emulated servers: which first chunks are scored, how, and which runs an array fits."""

import json
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering_draft import PAIR, QUESTIONS, Says, asking, for_turns, making, with_servers
from chances import cut_off, entries_of

from ATTS.analysis import audit_rate, run_decisions
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs import budget_prediction, questions, rules
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.settings import AsyncSettings
from ATTS.store import calibration
from ATTS.store.calibration import COUNTS


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, Any]:
    return asking(tmp_path, QUESTIONS)


def test_other_chunks_are_drawn_for_those_that_answer_or_end_and_none_of_a_question_that_always_answers(
    flags: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    says = Says()
    with_servers(says, making(sample_size=6), **flags)
    made = calibration.load(flags["ppl_array_path"], False)
    about = made.provenance
    assert about is not None
    assert about[COUNTS][0] == 0
    assert sum(about[COUNTS]) == len(made.scores) == len(says.scored) == 30
    of_question = Counter(int(text.split("question <")[1][0]) for text in says.scored)
    assert [of_question[row] for row in range(5)] == about[COUNTS]
    assert not any("boxed" in text.split("question <")[1] or "that is all" in text for text in says.scored)
    unscored = about["unscored_first_chunks"]
    assert unscored["answered"] >= 6
    assert unscored["ended"] > 0
    assert sum(unscored.values()) + 30 == says.drafts
    assert Counter(made.clusters(16).tolist()) == of_question
    odd = of_question[1] + of_question[3]
    assert {group: len(scores) for group, scores in made.by_group.items()} == {"a": 30 - odd, "b": odd}
    assert "others were drawn instead" in capsys.readouterr().err


def test_a_question_without_scores_of_its_own_is_judged_by_those_of_all(
    flags: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the run, in its audit, and in the report about the budget; and its percentiles are found again."""
    out = tmp_path / "run"

    async def running(pair: dict[str, Any]) -> Any:
        return await budget_prediction.predict(
            make(BudgetSettings, **pair, repeats=4, takeover_budget=2, output_dir=out), True
        )

    with_servers(Says(), making(True, sample_size=6), **flags)
    told = capsys.readouterr().err
    assert "1 questions have fewer than 6 scores; the first is question 0" in told
    assert "24 scores, not 30" in told
    made = calibration.load(flags["ppl_array_path"], True)
    assert made.scores.shape == (5, 6)
    assert np.isnan(made.scores).sum(axis=1).tolist() == [6, 0, 0, 0, 0]
    with_servers(Says(never=True), running, **flags)
    found, _, repeats = run_decisions.read(out, None)
    decided = run_decisions.decisions(found, repeats)
    assert (
        audit_rate.again(audit_rate.Rule("per_question", 0.5), decided, made, audit_rate.rows_of(made, found))
        == decided.rejected
    ).all()
    own = {0: made.scores[np.isfinite(made.scores)], **{row: made.scores[row] for row in range(1, 5)}}
    for sample in found:
        (entry,) = (e for e in sample["full_history"] if e["model"] == "eval_ppl")
        assert entry["percentile"] == np.mean(own[sample["question_index"]] < entry["ppl"])
    told = json.loads((out / "budget.json").read_text())["by_question"]
    assert told[0]["expected"] == pytest.approx(4 * 13 / 25)
    assert told[1]["expected"] == pytest.approx(4 * 4 / 7)
    assert calibration.recompute(made, found, 4).difference is None


def test_where_every_first_chunk_answers_there_is_no_array(flags: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no first chunk of these 5 questions .* 80 answered"):
        with_servers(Says(always=True), making(sample_size=2), **flags)
    assert not flags["ppl_array_path"].exists()


def test_a_greedy_draft_is_asked_once_for_a_score(flags: dict[str, Any]) -> None:
    says = Says(always=True)
    with pytest.raises(UserError, match="10 answered"):
        with_servers(says, making(sample_size=2, small_model_temperature=0.0), **flags)
    assert says.drafts == 10


@pytest.mark.parametrize("turns", [1, 3])
def test_an_array_remembers_how_answers_were_read_and_fits_runs_that_read_alike(tmp_path: Path, turns: int) -> None:
    """Boxes in thoughts: answers by default, none with --answer_after_think."""
    flags, made_by = for_turns(tmp_path, turns)
    kind: dict[str, Any] = {"calibration": "per_turn"} if turns > 1 else {}
    asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **flags).data)

    def fits(**more: Any) -> None:
        rules.make(make(AsyncSettings, **PAIR, **flags, **kind, **more), False, asked)

    with pytest.raises(UserError, match=r"no first chunk|calibration by turn stops at turn 0"):
        with_servers(Says(thought=True), making(**made_by), **flags)
    says = Says(thought=True)
    with_servers(says, making(answer_after_think=True, **made_by), **flags)
    assert len(says.scored) == turns * 80
    fits(answer_after_think=True)
    fits(answer_after_think=True, extract_mode="llm")
    with pytest.raises(UserError, match="answer_after_think: made with True, now False"):
        fits()
    with pytest.raises(UserError, match="extract_mode: made with 'regex', now 'published'"):
        fits(answer_after_think=True, extract_mode="published")
    fits(force=True)
    with pytest.raises(UserError, match="is another array"):
        with_servers(Says(thought=True), making(**made_by), **flags)


def test_an_array_without_the_newer_fields_is_made_again_unless_it_is_by_turn(tmp_path: Path) -> None:
    """One by turn never had scores of chunks that answer; one of first chunks had."""
    for turns, kind in ((1, None), (3, "per_turn")):
        flags, made_by = for_turns(tmp_path, turns)
        path = flags["ppl_array_path"]
        asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **flags).data)
        with_servers(Says(), making(**made_by, force=True), **flags)
        about = json.loads(path.with_suffix(".json").read_text())
        for name in calibration.UNTOLD | {"compat": None}:
            about["made_for"].pop(name, None)  # first chunks don't depend on some
        about.pop(COUNTS, None)
        path.with_suffix(".json").write_text(json.dumps(about))
        settings = make(AsyncSettings, **PAIR, **flags, calibration=kind)  # type: ignore[arg-type]
        if turns == 1:
            with pytest.raises(UserError, match="no run scores: calibrate again"):
                rules.make(settings, False, asked)
            with pytest.raises(UserError, match="no run scores: calibrate again"):
                with_servers(Says(), making(), **flags)
        else:
            rules.make(settings, False, asked)


def test_for_a_run_as_published_every_chunk_is_scored_and_other_arrays_are_refused(flags: dict[str, Any]) -> None:
    says = Says()
    with_servers(says, making(sample_size=6, compat="published"), **flags)
    assert len(says.scored) == says.drafts == 30
    assert any("boxed{1}" in text.split("question <")[1] for text in says.scored)
    asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **flags).data)
    rules.make(make(AsyncSettings, **PAIR, **flags, compat="published"), False, asked)
    with pytest.raises(UserError, match="compat: made with 'published', now None"):
        rules.make(make(AsyncSettings, **PAIR, **flags), False, asked)


def test_an_interrupted_calibration_goes_on_and_its_questions_have_the_share_that_a_run_gives_them(
    flags: dict[str, Any],
) -> None:
    """Question 1 answers half the time, so of its chunks a run scores half as many as of question 3."""
    path = flags["ppl_array_path"].with_suffix(".partial.jsonl")
    says = Says()

    def interrupted(pair: dict[str, Any]) -> Awaitable[None]:
        return cut_off(making(sample_size=80)(pair), lambda: len(entries_of(path)) >= 100)

    with_servers(says, interrupted, making(sample_size=80), **flags)
    about = calibration.load(flags["ppl_array_path"], False).provenance
    assert about is not None
    none, half, ended, *all_ = about[COUNTS]
    assert none == 0
    found = none + half + ended + sum(all_)
    # Eight draws in a row that a run doesn't score leave a place empty: a chance of .4^7 for a third of the 400.
    assert 396 <= found <= 400
    assert 0.3 < half / np.mean(all_) < 0.7
    assert 0.3 < ended / np.mean(all_) < 0.7
    assert found <= len(says.scored) <= found + 2 * 16  # those under way when it was cut off
