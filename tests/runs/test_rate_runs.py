"""Calibration kinds through whole runs: emulated servers, real files, interruption and resume."""

import asyncio
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from ATTS.analysis import audit_rate, by_turn
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import ExitStatus, ServerFailed, UserError
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import CalibrationSet, Online, PerTurn
from ATTS.method.loop import atts
from ATTS.method.score import SCORES
from ATTS.method.take_over import ByScore
from ATTS.method.types import Generated, Usage
from ATTS.runs import budget_prediction, rules
from ATTS.runs.budget_prediction import BudgetSettings
from ATTS.runs.calibrate import calibrate
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings, ConformalSettings
from ATTS.store import calibration, decisions
from ATTS.store.records import Key, record
from ATTS.store.result_folder import ResultStore, samples
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

PAIR = {"small_model_name": "d", "eval_model_name": "t"}
QUESTIONS = [Question(i, f"question {i}", str(i), group="even" if i % 2 == 0 else "odd") for i in range(5)]


def chance(*of: object) -> random.Random:
    """What follows from the same things is the same."""
    return random.Random(sha256(repr(of).encode()).hexdigest())


class Bytes:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()


class Speaks:
    """What it writes and how it scores follows from the prompt; fails at request ``fails_at``."""

    def __init__(self, fails_at: float = math.inf) -> None:
        self.requests, self.fails_at = 0, fails_at

    def _asked(self, ids: Sequence[int]) -> random.Random:
        self.requests += 1
        if self.requests > self.fails_at:
            raise ServerFailed("gone")
        return chance(list(ids))

    async def generate(self, ids: Sequence[int], max_tokens: int, temperature: float) -> Generated:
        drawn = self._asked(ids)
        text = rf"\boxed{{{drawn.randrange(5)}}}" if drawn.random() < 0.2 else f"step {drawn.randrange(99)}. "
        return Generated(list(text.encode()), False, Usage())

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        return [-self._asked(ids).random()] * (len(ids) - start), Usage()


def settings(**flags: Any) -> AsyncSettings:
    return AsyncSettings(
        **{"small_model_name": "d", "eval_model_name": "t", "dataset_name": "demo", "repeats": 3, "turns": 6} | flags
    )


async def go(chosen: AsyncSettings, folder: Path, fails_at: float = math.inf) -> None:
    """A run of one sample at a time, by the parts of a real one but its servers; ends when they fail."""
    model = Speaks(fails_at)
    decides = rules.make(chosen, False, QUESTIONS)
    keys = [Key(question, repeat, 3) for question in QUESTIONS for repeat in range(3)]
    with ResultStore(folder, {"decisive": {}}, force=False) as store:
        for key in decides.resume(folder, store.owed(keys)):
            d, t = (ModelView(model, Bytes(), [who, key.index], [key.index], 9, 1.0) for who in (1, 2))
            chain = Chain(find_answer, d, t, score=SCORES[chosen.score])
            status, error = ExitStatus.SERVER_FAILED, None
            try:
                status = await atts(chain, d, t, ByScore(decides[key]), chosen.turns)
            except ServerFailed as failure:
                error = str(failure)
            await store.save(record(key, chain, status, error, 1.0, {}))
            if error:
                return


def told(folder: Path) -> dict[int, list[Any]]:
    """Everything decided, by sample."""
    return {s["problem_index"]: [e for e in s["full_history"] if e["model"] == "eval_ppl"] for s in samples(folder)}


@settings_of_hypothesis(max_examples=20)
@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.sampled_from(["online", "window", "smoothed", "random", "sum"]),
)
def test_an_interrupted_run_decides_like_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int, kind: str
) -> None:
    """Stopped twice, at any requests, half-done samples thrown away: every percentile, p-value, level, decision
    and number is that of the run in one go."""
    folder = tmp_path_factory.mktemp("runs")
    flags: dict[str, Any] = {"calibration": "online", "seed": 3}
    if kind == "window":
        flags |= {"bank_window": 4}
    if kind == "random":
        flags = {"takeover": "random", "rejection_rate": 0.5, "seed": 3}
    if kind == "sum":
        flags |= {"score": "sum"}
    if kind == "smoothed":
        np.save(folder / "a.npy", np.linspace(1.1, 2.7, 20))
        flags = {"p_value": "smoothed", "ppl_array_path": folder / "a.npy"}
    chosen = settings(**flags)
    asyncio.run(go(chosen, folder / "whole"))
    for fails_at in (first, second, math.inf):
        asyncio.run(go(chosen, folder / "parts", fails_at))
    whole, parts = told(folder / "whole"), told(folder / "parts")
    assert len(whole) == 15
    if kind != "random":
        orders = [entry["order"] for decided in whole.values() for entry in decided]
        assert sorted(orders) == list(range(len(orders)))
    assert parts == whole


@settings_of_hypothesis(max_examples=15)
@given(st.lists(st.integers(1, 60), max_size=6), st.sampled_from([0.2, 0.4]), st.booleans())
def test_a_level_that_follows_holds_the_rate_over_every_window_after_any_interruptions(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], rate: float, torn: bool
) -> None:
    """Of all decisions made, those of half-done samples among them, every W in a row miss by at most
    (1 + gamma) / (gamma W); a new process goes on at the level where the last one stopped."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    chosen = settings(calibration="adaptive", rejection_rate=rate, gamma=0.5, seed=3)
    for fails_at in (*stops, math.inf):
        asyncio.run(go(chosen, folder, fails_at))
        if torn and fails_at < math.inf:
            with (folder / decisions.JOURNAL).open("ab") as file:
                file.write(b'{"order": 1')
    made = list(decisions.read(folder / decisions.JOURNAL))
    assert [entry["order"] for entry in made] == list(range(len(made)))
    kept = {entry["order"]: entry["rejected"] for decided in told(folder).values() for entry in decided}
    assert kept.items() <= {entry["order"]: entry["rejected"] for entry in made}.items()
    sums = np.cumsum([0, *(entry["rejected"] for entry in made)])
    for window in range(1, len(made) + 1):
        misses = (sums[window:] - sums[:-window]) / window - rate
        assert abs(misses).max() <= 1.5 / (0.5 * window) + 1e-9
    judge = Online(rate, 3, gamma=0.5)
    assert [judge(entry["score"], entry["turn"]).rejected for entry in made] == [entry["rejected"] for entry in made]


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    chosen = settings(calibration="adaptive")
    asyncio.run(go(chosen, tmp_path, 20))
    path = tmp_path / decisions.JOURNAL
    lines = path.read_text().splitlines()
    for damage in ("{", '{"order": 0}'):
        path.write_text("\n".join([damage, *lines[1:]]) + "\n")
        with pytest.raises(UserError, match=r"decisions\.jsonl.* damaged"):
            asyncio.run(go(chosen, tmp_path))


@settings_of_hypothesis(max_examples=15)
@given(st.integers(1, 2), st.lists(st.integers(1, 60), max_size=3), st.sampled_from(["marginal", "online"]))
def test_a_budget_that_is_a_bound_is_never_exceeded_at_a_turn_of_a_question(
    tmp_path_factory: pytest.TempPathFactory, most: int, stops: list[int], kind: str
) -> None:
    """Whatever is interrupted; and what is handed over are the first that the rule rejects, until it is spent."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "a.npy", np.linspace(1.1, 2.7, 20))
    array = {} if kind == "online" else {"ppl_array_path": folder / "a.npy"}
    chosen = settings(budget=most, budget_kind="bound", calibration=kind, seed=3, **array)
    for fails_at in (*stops, math.inf):
        asyncio.run(go(chosen, folder / "run", fails_at))
    spent: Counter[tuple[int, int]] = Counter()
    alike: Counter[tuple[int, int]] = Counter()
    for index, decided in sorted(told(folder / "run").items()):
        for entry in decided:
            place = (index // 3, entry["turn"])
            spent[place] += entry["rejected"]
            if kind == "marginal":
                alike[place] += entry["percentile"] >= 1 - most / 3
    assert max(spent.values()) <= most
    if kind == "marginal":
        assert spent == Counter({place: min(count, most) for place, count in alike.items()})


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


async def cut_off(work: Coroutine[Any, Any, Any], enough: Callable[[], bool]) -> None:
    """Cancels ``work`` as soon as there is ``enough`` of it."""
    task = asyncio.ensure_future(work)
    while not enough() and not task.done():  # noqa: ASYNC110 - files tell, no event does
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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
    with pytest.raises(UserError, match="needs at least 20 questions, and there are 10"):
        with_servers(lambda pair: calibrate(ConformalSettings(**pair), False), **few)
    rows = [{"problem": f"{q.problem}, {i}", "answer": q.answer} for i, q in enumerate(QUESTIONS * 6)]
    data = tmp_path / "more.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {"dataset_name": str(data), "ppl_array_path": array, "sample_size": 2, "turns": 4}

    def partial() -> list[dict[str, Any]]:
        path = array.with_suffix(".partial.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()[1:]] if path.exists() else []

    with_servers(
        lambda pair: cut_off(
            calibrate(ConformalSettings(**pair), False), lambda: any(entry.get("turn") == 1 for entry in partial())
        ),
        **flags,
    )
    kept = partial()
    scored = [entry for entry in kept if "score" in entry]
    assert {entry["turn"] for entry in scored} >= {0, 1}
    with_servers(lambda pair: calibrate(ConformalSettings(**pair), False), **flags)
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
    with_servers(lambda pair: evaluate_async(AsyncSettings(**pair), False), **chosen)
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
            rules.make(AsyncSettings(**PAIR, **run, calibration=kind), False, QUESTIONS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"rejection_rate: made with 0\.4, now 0\.2"):
        rules.make(AsyncSettings(**PAIR, **chosen, rejection_rate=0.2), False, QUESTIONS)


def test_a_run_that_learns_numbers_its_decisions_and_each_follows_from_those_before(data: Path, tmp_path: Path) -> None:
    """Through real requests, several at a time, interrupted and resumed: what is decided after the resume is what
    all decisions before it lead to, those of unfinished samples too; a question's samples don't come in a row."""
    flags = {"dataset_name": str(data), "repeats": 4, "turns": 8, "output_dir": tmp_path, "calibration": "adaptive"}

    def enough() -> bool:
        return len(list(tmp_path.glob("problem_*.json"))) >= 12

    with_servers(lambda pair: cut_off(evaluate_async(AsyncSettings(**pair), False), enough), **flags)
    kept = {s["problem_index"] for s in samples(tmp_path) if s["exit_status"] != "cancelled"}
    assert 0 < len(kept) < 40
    assert len({index // 4 for index in kept}) > len(kept) / 4
    before = sorted((e for s, e in entries(tmp_path) if s["problem_index"] in kept), key=lambda e: e["order"])
    interrupted = list(decisions.read(tmp_path / decisions.JOURNAL))
    assert {entry["order"] for entry in before} < {entry["order"] for entry in interrupted}
    with_servers(lambda pair: evaluate_async(AsyncSettings(**pair), False), **flags)
    judge = Online(0.4, gamma=1 / 19)
    for entry in interrupted:
        judge.learn(entry["score"], entry["turn"], entry["rejected"])
        judge.decisions = entry["order"] + 1
    after = sorted((e for s, e in entries(tmp_path) if s["problem_index"] not in kept), key=lambda e: e["order"])
    assert len(after) > 20
    for entry in after:
        verdict = judge(entry["ppl"], entry["turn"])._asdict()
        assert {name: value for name, value in verdict.items() if value is not None} == {
            name: entry[name] for name in verdict if entry.get(name) is not None
        }
    made = audit_rate.decisions(list(samples(tmp_path)), 4)
    assert set(made.group.tolist()) == {"even", "odd"}
    assert len(made) == len(before) + len(after)


def test_groups_have_thresholds_of_their_own(data: Path, tmp_path: Path) -> None:
    array = tmp_path / "a.npy"
    flags = {"dataset_name": str(data), "ppl_array_path": array}
    with_servers(lambda pair: calibrate(ConformalSettings(**pair), False), **flags, sample_size=4)
    made = calibration.load(array, False)
    run = {**flags, "repeats": 2, "output_dir": tmp_path / "run", "calibration": "grouped"}
    with_servers(lambda pair: evaluate_async(AsyncSettings(**pair), False), **run)
    by_group = made.by_group
    assert set(by_group) == {"even", "odd"}  # how many each has follows from which questions are scored
    assert sum(map(len, by_group.values())) == 40
    assert sorted(itertools.chain(*map(np.ndarray.tolist, by_group.values()))) == sorted(made.scores.tolist())
    for sample, entry in entries(tmp_path / "run"):
        assert entry["percentile"] == CalibrationSet(by_group[sample["group"]], 0.4)(entry["ppl"]).percentile
    found, about, repeats = audit_rate.read(tmp_path / "run", None)
    decided = audit_rate.decisions(found, repeats)
    assert (audit_rate.again(audit_rate.Rule("grouped"), decided, made) == decided.rejected).all()
    assert audit_rate.recorded_kind(about) == "grouped"
    other = [Question(0, "question 0, 0", "0", group="third")]
    with pytest.raises(UserError, match="no scores of the group 'third'"):
        rules.make(AsyncSettings(**PAIR, **run), False, other)
    np.save(tmp_path / "b.npy", made.scores)
    with pytest.raises(UserError, match="doesn't tell the groups"):
        rules.make(AsyncSettings(**PAIR, **{**run, "ppl_array_path": tmp_path / "b.npy"}), False, QUESTIONS)


@pytest.mark.parametrize("per_question", [False, True])
def test_a_budget_is_reported_question_by_question(data: Path, tmp_path: Path, per_question: bool) -> None:
    array = tmp_path / "a.npy"
    flags = {"dataset_name": str(data), "ppl_array_path": array}
    with_servers(lambda pair: calibrate(ConformalSettings(**pair), per_question), **flags)
    run = {**flags, "takeover_budget": 4, "output_dir": tmp_path / "run"}
    shown = with_servers(lambda pair: budget_prediction.predict(BudgetSettings(**pair), per_question), **run)
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


def test_flags_of_calibration_that_contradict_each_other_are_refused() -> None:
    for flags, message in (
        ({"budget": 3}, "part of them"),
        ({"calibration": "online", "p_value": "bounded"}, "smooths"),
        ({"budget_kind": "bound"}, "is for --budget"),
        ({"repeats": 4, "budget": 2, "budget_kind": "bound", "calibration": "adaptive"}, "contradicts"),
        ({"repeats": 4, "budget": 2, "budget_kind": "bound", "compat": "published"}, "not part of --compat"),
        ({"bank_window": 5}, "--bank_window is for"),
        ({"calibration": "online", "gamma": 0.1}, "--gamma is for"),
        ({"calibration": "online", "compat": "published"}, "--compat published"),
        ({"calibration": "online", "takeover": "random"}, "--takeover random"),
        ({"p_value": "bounded", "takeover": "random"}, "--takeover random"),
        ({"calibration": "online", "ppl_array_path": "missing.npy"}, "leave --ppl_array_path out"),
        ({"repeats": 16, "budget": 4, "rejection_rate": 0.3}, "leave --rejection_rate out"),
        ({"compat": "published", "score": "sum"}, "--score mean"),
        ({"compat": "published", "top_p": 0.9}, "--top_p"),
        ({"compat": "published", "scoring_concurrency": 3}, "--scoring_concurrency"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(**flags)
    assert settings(repeats=16, budget=4).rejection_rate == 0.25
    with pytest.raises(UserError, match="is for ref_async"):
        rules.make(settings(calibration="online"), True, QUESTIONS)
    with pytest.raises(ValueError, match="called --takeover_budget"):
        BudgetSettings(small_model_name="d", eval_model_name="t", dataset_name="demo", budget=2)
