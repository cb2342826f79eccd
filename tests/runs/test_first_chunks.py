"""Calibration through emulated servers: which first chunks are scored, how, and which runs an array fits."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ATTS.analysis import audit_rate
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.method.conformal import CalibrationSet, PerTurn
from ATTS.runs import budget_prediction, names, questions, rules
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.calibrate import calibrate
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration
from ATTS.store.calibration import COUNTS
from ATTS.store.result_folder import samples

PAIR = {"small_model_name": "d", "eval_model_name": "t"}
QUESTIONS = 5
BOX = r"\boxed{1}"


class Says:
    """A draft that answers question 0 at once, question 1 half the time, and ends question 2 half the time
    without an answer; or that does the same everywhere: boxes in its ``thought``, ``always`` or ``never`` an
    answer. ``scored``: texts whose last chunk was scored."""

    def __init__(self, thought: bool = False, always: bool = False, never: bool = False) -> None:
        self.random, self.thought, self.always, self.never = random.Random(0), thought, always, never
        self.scored: list[str] = []
        self.drafts = 0

    def write(self, ask: Ask) -> Written:
        number = int(ask.text.split("question <")[1][0])
        self.drafts += ask.role == "draft"
        text = f" step {self.random.randrange(10**6)}"
        if self.thought:
            return Written(f"<think> {BOX} {text}", "length")
        if self.never:
            return Written(text, "length")
        if self.always or number == 0 or (number == 1 and self.random.random() < 0.5):
            return Written(f"{text} so {BOX}", "stop")
        if number == 2 and self.random.random() < 0.5:
            return Written(f"{text} and that is all", "stop")
        return Written(text * self.random.randint(1, 3), "length")

    def score(self, ask: Ask, start: int) -> list[float | None]:
        self.scored.append(ask.text)
        return [-random.Random(ask.text).random()] * (len(ask.ids) - start)


def with_servers(says: Says, *uses: Callable[[dict[str, Any]], Awaitable[Any]], **flags: Any) -> Any:
    """The result of the last of ``uses``, each given the flags of an emulated pair."""

    async def run() -> Any:
        content, result = Scripted(says.write, says.score), None
        draft, target = (Server(Served(role=role, name=role[0], content=content)) for role in ("draft", "target"))
        async with draft, target:
            for use in uses:
                result = await use({**PAIR, "small_model_url": draft.url, "eval_model_url": target.url, **flags})
        return result

    return asyncio.run(run())


def asking(folder: Path, questions: int) -> dict[str, Any]:
    path = folder / f"{questions}.jsonl"
    rows = [{"problem": f"question <{i}>", "answer": "1", "group": "ab"[i % 2]} for i in range(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset_name": str(path), "ppl_array_path": folder / "a.npy"}


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, Any]:
    return asking(tmp_path, QUESTIONS)


def for_turns(folder: Path, turns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flags, and those of a calibration with 80 samples: a calibration by turn needs 20 questions."""
    if turns == 1:
        return asking(folder, QUESTIONS), {"turns": 1}
    return asking(folder, 8 * QUESTIONS), {"turns": turns, "sample_size": 2}


def making(per_question: bool = False, **more: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    return lambda pair: calibrate(ConformalSettings(**{**pair, **more}), per_question)


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
            BudgetSettings(**pair, repeats=4, takeover_budget=2, output_dir=out), True
        )

    with_servers(Says(), making(True, sample_size=6), **flags)
    told = capsys.readouterr().err
    assert "1 questions have fewer than 6 scores; the first is question 0" in told
    assert "24 scores, not 30" in told
    made = calibration.load(flags["ppl_array_path"], True)
    assert made.scores.shape == (5, 6)
    assert np.isnan(made.scores).sum(axis=1).tolist() == [6, 0, 0, 0, 0]
    with_servers(Says(never=True), running, **flags)
    found, _, repeats = audit_rate.read(out, None)
    decided = audit_rate.decisions(found, repeats)
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
    asked = questions.to_evaluate(AsyncSettings(**PAIR, **flags))

    def fits(**more: Any) -> None:
        rules.make(AsyncSettings(**PAIR, **flags, **kind, **more), False, asked)

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
        asked = questions.to_evaluate(AsyncSettings(**PAIR, **flags))
        with_servers(Says(), making(**made_by, force=True), **flags)
        about = json.loads(path.with_suffix(".json").read_text())
        for name in calibration.UNTOLD | {"compat": None}:
            del about["made_for"][name]
        about.pop(COUNTS, None)
        path.with_suffix(".json").write_text(json.dumps(about))
        settings = AsyncSettings(**PAIR, **flags, calibration=kind)  # type: ignore[arg-type]
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
    asked = questions.to_evaluate(AsyncSettings(**PAIR, **flags))
    rules.make(AsyncSettings(**PAIR, **flags, compat="published"), False, asked)
    with pytest.raises(UserError, match="compat: made with 'published', now None"):
        rules.make(AsyncSettings(**PAIR, **flags), False, asked)


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
        await evaluate_async(AsyncSettings(**pair, **run), own)

    with_servers(Says(), making(own, score="sum", **made_by), running, **flags)
    made = calibration.load(array, None)
    assert made.score.name == "sum"
    assert np.nanmin(made.scores) >= 0
    found, about, repeats = audit_rate.read(tmp_path / "run", None)
    decided = audit_rate.decisions(found, repeats)
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
    asked = questions.to_evaluate(AsyncSettings(**PAIR, **flags))
    if kind != "online":
        with pytest.raises(UserError, match="score: made with 'sum', now 'mean'"):
            rules.make(AsyncSettings(**PAIR, **flags, **{**run, "score": "mean"}), own, asked)
    if kind == "marginal":  # an array that tells nothing holds perplexities, as the published ones do
        array.with_suffix(".json").unlink()
        np.save(array, made.scores + 1)
        with pytest.raises(UserError, match="it is taken for 'mean'"):
            rules.make(AsyncSettings(**PAIR, **flags, **run), own, asked)


def test_the_two_commands_find_each_others_arrays_of_each_score() -> None:
    for per_question in (False, True):
        paths = set()
        for score in ("mean", "sum"):
            run = AsyncSettings(**PAIR, dataset_name="demo", score=score)  # type: ignore[arg-type]
            array = ConformalSettings(**PAIR, dataset_name="demo", score=score)  # type: ignore[arg-type]
            assert names.calibration_array(run, per_question) == names.calibration_array(array, per_question)
            paths |= {names.calibration_array(run, per_question), names.async_results(run, per_question)}
        assert len(paths) == 4


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
        await evaluate_async(AsyncSettings(**pair, **run), own)

    with_servers(Says(), making(own, **by_turn), running, **flags)
    decided = [e["rejected"] for s in samples(tmp_path / "run") for e in s["full_history"] if e["model"] == "eval_ppl"]
    assert len(decided) > 8
    assert set(decided) == {bool(rate)}


def test_an_interrupted_calibration_goes_on_and_its_questions_have_the_share_that_a_run_gives_them(
    flags: dict[str, Any],
) -> None:
    """Question 1 answers half the time, so of its chunks a run scores half as many as of question 3."""
    path = flags["ppl_array_path"].with_suffix(".partial.jsonl")
    says = Says()

    async def cut_off(pair: dict[str, Any]) -> None:
        task = asyncio.ensure_future(making(sample_size=80)(pair))
        while not path.exists() or len(path.read_text().splitlines()) < 100:  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_servers(says, cut_off, making(sample_size=80), **flags)
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
        await evaluate_async(AsyncSettings(**pair, **run), False)

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
