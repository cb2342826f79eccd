"""The search for a setting: replay is exact, searchers find, archives go on, commands come back."""

import asyncio
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from chances import chance
from hypothesis import given
from hypothesis import strategies as st
from openai_server import serve

from ATTS.analysis.accuracy import majority_at_k
from ATTS.analysis.voting import RIGHT
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import flat, make, parse
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.simulation.roofline import Deployment
from ATTS.store import provenance
from ATTS.tuning import llm, replay, report, search, seconds
from ATTS.tuning.archive import Archive, Trial
from ATTS.tuning.replay import Run, Sample, Turn
from ATTS.tuning.search import Environment, SearchSettings, explored
from ATTS.tuning.searchers import SEARCHERS
from ATTS.tuning.space import Setting, Space, neighbours
from ATTS.votes.vote import VOTES

REPEATS, TURNS = 8, 4


def folder(path: Path, right: float, questions: int = 12, rate: float = 0.4) -> Path:
    """A finished run of ATTS: question i is right with a chance around ``right``, chains take up to four turns."""
    path.mkdir()
    flags = {"small_model_name": "d", "eval_model_name": "t", "dataset_name": "demo"}
    settings = make(AsyncSettings, **flags, rejection_rate=rate, repeats=REPEATS, turns=TURNS, use_chat_template=True)
    about = {"command": "ref_async", "settings": provenance.resolved(settings)}
    (path / "settings.json").write_text(json.dumps(about))
    for index in range(questions * REPEATS):
        question, dice = index // REPEATS, chance(path.name, index)
        turns = dice.randint(1, TURNS)
        answer = "1" if dice.random() < right - 0.3 * (question % 2) else dice.choice(["2", "2.0", "3", "invalid"])
        history: list[dict[str, Any]] = []
        for turn in range(turns):
            history.append({"turn": turn, "model": "small", "output": "x", "tokens": 10, "ended": False})
            if turn % 2:
                history.append({"turn": turn, "model": "eval_ppl", "ppl": 2.0, "rejected": True})
                history.append({"turn": turn, "model": "eval_generate", "output": "y", "tokens": 7, "ended": False})
        sample = {
            "schema": 1,
            "problem_index": index,
            "question_index": question,
            "exit_status": "answered",
            "final_answer": answer,
            "reference_answer": "1",
            "duration_seconds": 1.0,
            "usage": {},
            "question": f"q{question}",
            "full_history": history,
        }
        (path / f"problem_{index:04d}.json").write_text(json.dumps(sample))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    where = tmp_path_factory.mktemp("runs")
    return [folder(where / "cheap", 0.6, rate=0.2), folder(where / "good", 0.9)]


def found(paths: list[Path]) -> list[Run]:
    return [replay.read(path, None, None, None) for path in paths]


samples_of = st.lists(st.tuples(st.sampled_from([RIGHT, "a", "b", None]), st.integers(1, 4)), min_size=2, max_size=5)


@given(samples_of, st.integers(1, 4), st.integers(1, 5))
def test_replay_is_the_mean_over_orders(said: list[tuple[str | None, int]], turns: int, repeats: int) -> None:
    """Against the exact expectation: a chain that took more turns has no answer, and costs what it had written."""
    samples = [Sample(vote, (Turn(10, 3),) * count) for vote, count in said]
    repeats = min(repeats, len(samples))
    run = Run("r", Path("r"), {0: samples}, None)
    score = replay.score(run, Setting("r", turns, repeats), [0], orders=1000)
    votes = [vote if count <= turns else None for vote, count in said]
    others = [votes.count(name) for name in ("a", "b") if name in votes]
    wanted = majority_at_k(votes.count(RIGHT), others, votes.count(None), repeats)
    assert score.right[0] == pytest.approx(wanted, abs=0.08)
    written = repeats * sum(min(count, turns) for _, count in said) / len(said)
    assert score.draft_tokens[0] == pytest.approx(10 * written, rel=0.15)
    assert score.target_tokens[0] == pytest.approx(3 * written, rel=0.15)


def test_a_run_is_read_with_its_tokens_and_votes(runs: list[Path]) -> None:
    run = found(runs)[1]
    assert (run.name, run.turns, run.repeats, run.alone) == ("good", TURNS, REPEATS, None)
    sample = run.questions[0][0]
    assert sample.tokens(TURNS) == (10 * len(sample.turns), 7 * (len(sample.turns) // 2))
    for samples in run.questions.values():
        votes = {s.vote for s in samples}
        assert votes <= {RIGHT, "2", "2.0", "3", None}
        assert not {"2", "2.0"} <= votes  # they mean the same


def test_the_target_alone_costs_what_the_target_costs(runs: list[Path]) -> None:
    """It is known by its name, which another run has as the model that helps."""
    both = found(runs)
    questions = {number: [Sample(RIGHT, (Turn(10, None),))] * REPEATS for number in both[0].questions}
    alone = [Run(name, Path(name), questions, "draft", (name, None)) for name in ("d", "t")]
    prices = make(SearchSettings, runs=tuple(runs), unit="price", prices=(1.0, 5.0))
    environment = Environment([*both, *alone], prices)
    costs = [environment.tried(Setting(name, 1, 1)).cost for name in ("d", "t")]
    assert costs == pytest.approx([10 * 1e-6, 50 * 1e-6])


def test_a_run_that_left_samples_out_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "stopped", 0.9) / "problem_0003.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"exit_status": "stopped"}))
    with pytest.raises(UserError, match="left samples out"):
        replay.read(tmp_path / "stopped", None, None, None)


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_every_searcher_ends_with_the_best_setting(name: str, runs: list[Path]) -> None:
    """Left to itself each comes to where nothing better is left; halving to one of the best."""
    environment = Environment(found(runs), make(SearchSettings, runs=tuple(runs)))
    grid = {setting: environment.tried(setting) for setting in environment.space.settings}
    budget = 200.0
    most = max(trial.value(budget) for trial in grid.values())
    trials = 20 if name == "gp" else len(grid)
    archive = Archive(None, {})
    tried = asyncio.run(explored(environment, SEARCHERS[name], archive, budget, trials, 0))
    best = max(trial.value(budget) for trial in tried)
    assert best >= most - (0.0 if name in ("grid", "random", "rules") else 0.05)
    settings = [trial.setting for trial in tried]
    assert len(set(settings)) == len(settings)
    if name == "halving":
        assert len(tried) < len(grid) / 4


def test_a_search_that_was_cut_off_goes_on(runs: list[Path], tmp_path: Path) -> None:
    environment = Environment(found(runs), make(SearchSettings, runs=tuple(runs)))
    whole, parts = Archive(tmp_path / "whole", {"a": 1}), tmp_path / "parts"
    asyncio.run(explored(environment, SEARCHERS["random"], whole, None, 12, 3))
    for count in (5, 12):
        archive = Archive(parts, {"a": 1})
        asyncio.run(explored(environment, SEARCHERS["random"], archive, None, count, 3))
        with parts.open("a") as file:
            file.write('{"setting": {"run"')  # torn
    assert archive.trials == whole.trials == Archive(parts, {"a": 1}).trials
    some = whole.trials[0].setting.run  # a run that --run made for an earlier command may be gone
    assert Archive(parts, {"a": 1}, [some]).trials == [trial for trial in whole.trials if trial.setting.run == some]
    with pytest.raises(UserError, match="is of another search"):
        Archive(parts, {"a": 2})
    parts.write_text("[]\n{}\n")
    with pytest.raises(UserError, match="is of another search"):
        Archive(parts, {"a": 1})


def test_the_front_holds_what_nothing_beats() -> None:
    dice = random.Random(0)
    trials = [Trial(Setting("r", 1, n), 1.0, dice.random(), dice.random()) for n in range(50)]
    front = report.front(trials)
    for trial in trials:
        beaten = any(o.score >= trial.score and o.cost <= trial.cost and o is not trial for o in front)
        assert beaten or trial in front
    best = report.best(trials, 0.5)
    assert best is not None
    assert all(t.score <= best.score for t in trials if t.cost <= 0.5)
    assert report.best(trials, -1.0) is None


def test_the_answer_names_the_best_and_its_command(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make(
        SearchSettings,
        runs=tuple(runs),
        searcher="grid",
        trials=1000,
        budget=300.0,
        rates=(0.4, 0.6),
        picture=tmp_path / "f.png",
    )
    told = asyncio.run(search.search(settings))
    assert (tmp_path / "f.png").stat().st_size > 1000
    environment = Environment(found(runs), settings)
    best = report.best([environment.tried(s) for s in environment.space.settings], 300.0)
    assert best is not None
    assert f"the best within the budget: {best.setting}" in told
    run = environment.runs[best.setting.run]
    words = (report.command(run, best.setting) or "").split()
    assert words[:3] == ["python", "-m", "ATTS.ref_async"]
    monkeypatch.setattr("sys.argv", ["prog", *words[3:], "--dataset_name", "demo"])
    again = flat(parse(AsyncSettings, "A test."))
    before = json.loads((run.path / "settings.json").read_text())["settings"]
    changed = {name for name, value in before.items() if str(again[name]) != str(value)}
    assert changed <= {"repeats", "turns", "stop", "stop_threshold"}
    assert (again["repeats"], again["turns"], again["stop"]) == (
        best.setting.repeats,
        best.setting.turns,
        best.setting.stop,
    )
    needs = told.partition("needs a run")[2]
    assert "--rejection_rate 0.6" in needs  # 0.4 there is
    assert "--rejection_rate 0.4" not in needs


def test_nothing_within_the_budget_is_said(runs: list[Path]) -> None:
    told = asyncio.run(search.search(make(SearchSettings, runs=tuple(runs), budget=0.001, trials=3)))
    assert "none costs at most 0.001 tokens a question" in told


def test_seconds_come_from_the_virtual_clock(runs: list[Path]) -> None:
    """More samples take longer, stopping less; the same every time."""
    run, pair = found(runs)[1], (Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2"))
    questions = sorted(run.questions)
    one, all_of_them, stopped = (
        seconds.seconds(run, setting, questions, *pair)
        for setting in (
            Setting("good", TURNS, 1),
            Setting("good", TURNS, REPEATS),
            Setting("good", TURNS, REPEATS, "beta", 0.95),
        )
    )
    assert 0 < one < all_of_them
    assert stopped <= all_of_them
    assert one == seconds.seconds(run, Setting("good", TURNS, 1), questions, *pair)


def test_rates_that_no_run_was_made_with_are_run_on_the_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target that is right and a draft that is not: of three rates the highest stays, and is run on all questions."""

    def write(ask: Ask) -> Written:
        if ask.role == "target":
            return Written(r"so \boxed{1}", "stop")
        return Written(" step" if chance(ask.text).random() < 0.6 else r"so \boxed{2}", "length")

    content = Scripted(write, lambda ask, start: [-0.5] * len(ask.ids[start:]))
    rows = [{"problem": f"question <{i}>", "answer": "1"} for i in range(16)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    async def run() -> str:
        draft, target = (Server(Served(role=role, name=role[0], content=content)) for role in ("draft", "target"))
        async with draft, target:
            urls = {"small_model_url": draft.url, "eval_model_url": target.url}
            urls["dataset_name"] = str(tmp_path / "q.jsonl")
            more = {"small_model_name": "d", "eval_model_name": "t", "takeover": "random", "repeats": 2, "turns": 3}
            base = make(AsyncSettings, **urls, **more, output_dir=tmp_path / "base_t0.8", rejection_rate=0.5)
            await evaluate_async(base, False)
            rates = (0.0, 0.5, 0.02, 1.0)
            asked = make(SearchSettings, runs=(tmp_path / "base_t0.8",), rates=rates, run=True, trials=20)
            first, compared = await search.search(asked), capsys.readouterr().err
            assert await search.search(asked) == first
            again = capsys.readouterr().err
            rounds = [line for line in compared.splitlines() if line.startswith("rate")]
            assert len(rounds) >= 4
            assert rounds == [line for line in again.splitlines() if line.startswith("rate")]
            return first

    told = asyncio.run(run())
    counts = {path.name: len(list(path.glob("problem_*.json"))) // 2 for path in tmp_path.iterdir() if path.is_dir()}
    assert counts == {"base_t0.8": 16, "base_t0.8_rate0": 1, "base_t0.8_rate0.02": 1, "base_t0.8_rate1": 16}
    assert "base_t0.8_rate1: " in told
    assert "needs a run" not in told


def test_rates_are_compared_within_the_budget(runs: list[Path]) -> None:
    """Of a run that is always right for 100 tokens and one that is mostly right for 10, the budget decides which is
    worth more; of two that are equally right, the cheaper one; and with a vote, samples that fit the budget count."""

    def run(rights: int, tokens: int) -> Run:
        samples = [Sample(RIGHT if i < rights else "a", (Turn(tokens, None),)) for i in range(5)]
        return Run("r", Path("r"), dict.fromkeys(range(4), samples), None)

    dear, fair, cheap = run(5, 100), run(4, 10), run(5, 90)
    mean = Environment(found(runs), make(SearchSettings, runs=tuple(runs), objective="mean"))
    assert mean.worth(dear, None) == (1.0, -100.0)
    assert mean.worth(cheap, None) > mean.worth(dear, None) > mean.worth(fair, None)
    assert mean.worth(fair, 20.0) == (pytest.approx(0.8), -10.0)
    assert mean.worth(fair, 20.0) > mean.worth(cheap, 20.0) > mean.worth(dear, 20.0)
    vote = Environment(found(runs), make(SearchSettings, runs=tuple(runs)))
    assert vote.worth(fair, 50.0)[0] > vote.worth(fair, 10.0)[0] == pytest.approx(0.8)
    assert vote.worth(dear, 50.0)[0] == pytest.approx(1 - math.log(2))


def test_prices_are_printed_with_their_digits(runs: list[Path]) -> None:
    told = asyncio.run(search.search(make(SearchSettings, runs=tuple(runs), unit="price", trials=3)))
    assert re.search(r"\| (0\.000[0-9]+|[0-9.]+e-05) \|", told)
    assert report.amount(8434.47) == "8,434.5"


def test_a_vote_by_confidence_needs_confidences(runs: list[Path]) -> None:
    with pytest.raises(UserError, match="holds no confidences to vote by"):
        asyncio.run(search.search(make(SearchSettings, runs=tuple(runs), objective="weighted")))
    samples = [Sample(RIGHT, (Turn(1, None),), 0.9), *[Sample("a", (Turn(1, None),), 0.2)] * 2]
    run = Run("r", Path("r"), {0: samples}, None)
    for vote, right in (("majority", 0.0), ("weighted", 1.0)):
        assert replay.score(run, Setting("r", 1, 3), [0], vote=VOTES[vote]).right == (right,)


def test_a_budget_of_seconds_is_kept_by_the_clock(runs: list[Path]) -> None:
    settings = make(SearchSettings, runs=tuple(runs), unit="seconds", budget=1e-6, trials=2)
    assert "none costs at most 1e-06 seconds a question" in asyncio.run(search.search(settings))


def test_a_step_changes_one_thing() -> None:
    space = Space.of([("a", 4, 8), ("b", 4, 8)], vote=True)
    for setting in space.settings:
        for other in neighbours(space.settings, setting):
            differences = [setting.run != other.run, setting.turns != other.turns, setting.repeats != other.repeats]
            assert sum([*differences, (setting.stop, setting.threshold) != (other.stop, other.threshold)]) == 1
    assert {s.stop for s in space.settings if s.repeats == 1} == {"none"}  # nothing to stop


def test_a_language_model_proposes_over_http(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is tried; nonsense, and settings that there aren't or that were tried, give way to random ones."""
    wanted = Setting("good", TURNS, REPEATS, "beta", 0.95)
    replies = [
        f"I would try {json.dumps(wanted.json())}.",
        "no idea",
        '{"run": "good", "turns": 99}',
        json.dumps(wanted.json()),
    ]

    def reply(message: str, _: int) -> str:
        assert "run: [" in message
        return replies[len(endpoint.bodies) - 1] if len(endpoint.bodies) <= len(replies) else "{}"

    with serve(reply) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        settings = make(
            SearchSettings, runs=tuple(runs), searcher="llm", trials=4, archive=tmp_path / "a", llm_cache=tmp_path / "c"
        )
        told = asyncio.run(search.search(settings))
    lines = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()[1:]]
    assert lines[0]["setting"] == wanted.json()
    assert len({json.dumps(line["setting"]) for line in lines}) == 4
    assert "4 of " in told
    assert json.dumps(wanted.json())[1:-1] in endpoint.asked[-1][0]  # later prompts tell what was tried
    assert llm.read('{"run": "good"}', [wanted]) is None
