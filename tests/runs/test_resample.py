"""Rejected chunks that are replaced: calibration, runs, limits, interruption, through emulated servers."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chances import chance, cut_off, entries_of

from ATTS.analysis import by_role
from ATTS.calibration.calibrate import calibrate
from ATTS.emulator import Ask, Scripted, Served, Server, Timing, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.method.conformal import PerTurn
from ATTS.method.types import Stage
from ATTS.runs import names, questions, rules
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration
from ATTS.store.result_folder import samples

PAIR = {"small_model_name": "d", "eval_model_name": "t"}
Use = Callable[[dict[str, Any]], Awaitable[Any]]


class Says:
    """A draft of which one chunk in eight answers, ``never`` none; scores that follow from the text."""

    def __init__(self, never: bool = False) -> None:
        self.never, self.written = never, 0

    def write(self, ask: Ask) -> Written:
        self.written += 1
        drawn = chance(ask.text, ask.role, self.written)
        if not self.never and drawn.random() < (0.12 if ask.role == "draft" else 0.05):
            return Written(rf" so \boxed{{{drawn.randrange(5)}}}", "stop")
        return Written(f" {drawn.randrange(10**9)} and " * 9)  # cut at the limit

    def score(self, ask: Ask, start: int) -> list[float | None]:
        return [-chance(ask.text).random()] * (len(ask.ids) - start)


def with_servers(use: Use, says: Says | None = None, timing: Timing = Timing(speed=0), **flags: Any) -> Any:  # noqa: B008
    async def run() -> Any:
        content = says or Says()
        scripted = Scripted(content.write, content.score)
        draft, target = (
            Server(Served(role=role, name=role[0], content=scripted, timing=timing)) for role in ("draft", "target")
        )
        async with draft, target:
            return await use({**PAIR, "small_model_url": draft.url, "eval_model_url": target.url, **flags})

    return asyncio.run(run())


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    path.write_text("".join(json.dumps({"problem": f"question <{i}>", "answer": "1"}) + "\n" for i in range(24)))
    return {"dataset_name": str(path), "small_model_max_tokens": 10, "evalator_max_tokens": 14}


def turns_of(sample: dict[str, Any]) -> Iterator[list[str]]:
    """The stages of each turn, in order."""
    history = sample["full_history"]
    for turn in range(history[-1]["turn"] + 1):
        yield [entry["model"] for entry in history if entry["turn"] == turn]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"score_answers": True}, "--score_answers is for --on_rejection resample"),
        ({"score_window": 3}, "--score_window is for --score worst_window"),
        ({"score": "worst_window", "score_window": 0}, "--score_window must be at least 1"),
        ({"score": "regret", "compat": "published"}, "--compat published scores by --score mean"),
        ({"draft_attempts": 2}, "--draft_attempts above 1 is for --on_rejection resample"),
        ({"on_rejection": "resample", "draft_attempts": 0}, "--draft_attempts must be at least 1"),
        ({"on_rejection": "resample", "compat": "published"}, "--compat published continues behind a rejected chunk"),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(more: dict[str, Any], message: str) -> None:
    for kind in (AsyncSettings, ConformalSettings):
        with pytest.raises(ValueError, match=message):
            make(kind, **PAIR, dataset_name="demo", **more)


def test_answers_are_scored_where_a_rejection_can_mend_them_unless_the_user_says_otherwise() -> None:
    for more, scored, array, folder in (
        ({}, False, "_ct0.npy", "_ct0"),
        ({"on_rejection": "resample"}, True, "_ct0_answers.npy", "_ct0_resample"),
        (
            {"on_rejection": "resample", "score_answers": False, "draft_attempts": 3},
            *(False, "_ct0.npy", "_ct0_resample_a3_unscored_answers"),
        ),
    ):
        run = make(AsyncSettings, **PAIR, dataset_name="demo", **more)  # type: ignore[arg-type]
        assert run.scoring.score_answers is scored
        assert names.calibration_array(run, False).name.endswith(array)
        made = make(ConformalSettings, **PAIR, dataset_name="demo", **more)  # type: ignore[arg-type]
        assert names.calibration_array(made, False) == names.calibration_array(run, False)
        assert names.async_results(run, False).name.endswith(folder)


def test_first_chunks_that_answer_are_in_an_array_for_runs_that_score_them_and_in_no_other(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    array = {"ppl_array_path": tmp_path / "a.npy", "sample_size": 20}
    more = {**flags, **array, "on_rejection": "resample"}
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **more)
    made = calibration.load(tmp_path / "a.npy", False)
    assert made.provenance is not None
    assert made.provenance["unscored_first_chunks"] == {"answered": 0, "ended": 0, "empty": 0}
    asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **more).data)
    rules.make(make(AsyncSettings, **PAIR, **more, draft_attempts=2), False, asked)  # first chunks don't depend on it
    for other in ({"on_rejection": "continue"}, {"score_answers": False}):
        with pytest.raises(UserError, match="score_answers: made with True, now False"):
            rules.make(make(AsyncSettings, **PAIR, **{**more, **other}), False, asked)
    plain = {**flags, **array, "ppl_array_path": tmp_path / "b.npy"}
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **plain)
    with pytest.raises(UserError, match="score_answers: made with False, now True"):
        rules.make(make(AsyncSettings, **PAIR, **plain, on_rejection="resample"), False, asked)


@pytest.mark.parametrize("attempts", [1, 2])
def test_calibration_by_turn_follows_the_rejections_of_the_run_that_it_is_for(
    flags: dict[str, Any], tmp_path: Path, attempts: int
) -> None:
    """Interrupted, too: then nothing is scored twice; and each decision of the run is that of its turn's scores."""
    array = tmp_path / "turns.npy"
    policy = {"on_rejection": "resample", "draft_attempts": attempts, "rejection_rate": 0.5}
    making = {**flags, **policy, "ppl_array_path": array, "sample_size": 3, "turns": 4}

    def partial() -> list[dict[str, Any]]:
        return entries_of(array.with_suffix(".partial.jsonl"))

    def enough() -> bool:
        return any(entry.get("turn") == 1 and entry["attempt"] == attempts - 1 for entry in partial())

    with_servers(lambda pair: cut_off(calibrate(make(ConformalSettings, **pair), False), enough), **making)
    kept = [entry for entry in partial() if "score" in entry]
    assert {entry["attempt"] for entry in kept} == set(range(attempts))
    with_servers(lambda pair: calibrate(make(ConformalSettings, **pair), False), **making)
    made = calibration.load(array, False, per_turn=True)
    assert made.turns is not None
    assert made.questions is not None
    rows = set(zip(made.turns.tolist(), made.questions.tolist(), made.scores.tolist(), strict=True))
    assert {(e["turn"], e["row"], e["score"]) for e in kept if not e["attempt"]} <= rows
    assert (made.turns == 0).sum() == 72  # of every chain one, whatever is drafted again

    run = {**flags, **policy, "ppl_array_path": array, "repeats": 2, "turns": 5, "calibration": "per_turn"}
    run |= {"output_dir": tmp_path / "run", "optimistic": True}
    with_servers(lambda pair: evaluate_async(make(AsyncSettings, **pair), False), **run)
    judge, found = PerTurn(made.by_turn, 0.5, questions=made.questions_by_turn), list(samples(tmp_path / "run"))
    replaced = redrafted = 0
    for sample in found:
        for entry in sample["full_history"]:
            if entry["model"] == Stage.SCORE:
                verdict = judge(entry["ppl"], entry["turn"])
                assert (entry["percentile"], entry["rejected"]) == verdict[:2]
        for stages in turns_of(sample):
            gone = stages.count(Stage.DRAFT_DISCARDED)
            assert gone <= attempts
            assert (gone == attempts) == (Stage.CONTINUE in stages)
            assert stages.count(Stage.DRAFT) == (gone < attempts)
            replaced += gone == attempts
            redrafted += 0 < gone < attempts
    assert replaced > 20
    assert (redrafted > 5) == (attempts > 1)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    told = by_role.tokens(found)
    assert summary["discarded_tokens"] == told["discarded"]
    written = {role: told["kept"][role] + told["discarded"][role] for role in ("draft", "target")}
    assert summary["written_tokens"] == written
    assert summary["target_share"] == written["target"] / sum(written.values())
    assert summary["turns"] == sum(len(list(turns_of(sample))) for sample in found) / len(found)
    assert summary["takeover_rate"] * summary["turns"] * len(found) == pytest.approx(replaced)

    asked = questions.to_evaluate(make(AsyncSettings, **PAIR, **flags).data)
    for other, message in (
        ({"on_rejection": "continue", "draft_attempts": 1}, "on_rejection: made with 'resample', now 'continue'"),
        ({"draft_attempts": 3}, f"draft_attempts: made with {attempts}, now 3"),
        ({"score_answers": False}, "score_answers: made with True, now False"),
    ):
        with pytest.raises(UserError, match=message):
            rules.make(make(AsyncSettings, **PAIR, **{**run, **other}), False, asked)


@pytest.mark.parametrize(("budget", "limit"), [(0, 3 * (10 + 14)), (31, 31)])
def test_the_text_is_limited_and_not_the_turns_where_chunks_are_replaced(
    flags: dict[str, Any], tmp_path: Path, budget: int, limit: int
) -> None:
    """By what as many turns may bring where the target continues; what is discarded does not count."""
    run = {**flags, "takeover": "random", "rejection_rate": 0.7, "on_rejection": "resample", "draft_attempts": 2}
    run |= {"turns": 3, "repeats": 2, "token_budget": budget, "output_dir": tmp_path}
    with_servers(lambda pair: evaluate_async(make(AsyncSettings, **pair), False), Says(never=True), **run)
    lost = 0
    for sample in samples(tmp_path):
        told = by_role.tokens([sample])
        assert sum(told["kept"].values()) == limit
        assert sample["exit_status"] == "token_budget"
        lost += sum(told["discarded"].values())
    assert lost > 0


def test_a_run_killed_half_way_is_finished_with_its_own_setting_and_no_other(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    words = [f"--{name}={value}" for name, value in flags.items()]
    words += ["--takeover=random", "--rejection_rate=0.5", "--turns=6", "--repeats=4", "--output_dir=out"]

    async def process(pair: dict[str, Any], on_rejection: str) -> asyncio.subprocess.Process:
        addresses = [f"--{name}={value}" for name, value in pair.items()]
        command = [sys.executable, "-m", "ATTS.ref_async", *addresses, *words, f"--on_rejection={on_rejection}"]
        return await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE)

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.glob("out/problem_*.json")}

    async def use(pair: dict[str, Any]) -> None:
        first = await process(pair, "resample")
        while len(files()) < 8:  # noqa: ASYNC110 - files tell, no event does
            await asyncio.sleep(0.01)
        first.kill()
        await first.communicate()
        kept = files()
        assert len(kept) < 96
        other = await process(pair, "continue")
        told = (await other.communicate())[1].decode()
        assert other.returncode == 2
        assert "on_rejection: made with 'resample', now 'continue'" in " ".join(told.split())
        assert files() == kept
        second = await process(pair, "resample")
        assert f"{len(kept)} of 96 samples are already" in (await second.communicate())[1].decode()
        assert second.returncode == 0
        done = files()
        assert len(done) == 96
        assert {path: done[path] for path in kept} == kept

    with_servers(use, timing=Timing(step_seconds=0.01))
    for sample in samples(tmp_path / "out"):
        for stages in turns_of(sample):
            assert (Stage.DRAFT_DISCARDED in stages) == (Stage.CONTINUE in stages)
