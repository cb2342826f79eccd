"""Samples of decided questions: left out, cancelled, counted; resumed; confidences asked. On an emulated pair."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answering_draft import PAIR
from chances import chance, cut_off
from conftest import Pair, door

from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.emulator.timing import Timing
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.confidence import ASKED
from ATTS.runs.evaluate import evaluate_alone, evaluate_async
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.store.records import Record
from ATTS.store.result_folder import samples
from ATTS.votes.stop import StopName, decision, rule
from ATTS.votes.vote import Ballot

REPEATS = 16


def answers(ask: Ask) -> Written:
    """Question i: the right answer with a chance that depends on it, after one chunk or two."""
    if ASKED in ask.text:  # only its probabilities are of interest
        return Written("Yes")
    number = int(ask.text.split("question <")[1].split(">")[0])
    dice = DICE[0]
    if dice.random() < 0.5:
        return Written(f" step {dice.randrange(10**6)}", "length")
    right = dice.random() < (1.0, 0.8, 0.5)[number % 3]
    return Written(r" so \boxed{%s}" % (dice.choice(["1/2", "0.5", r"\frac{1}{2}"]) if right else dice.choice("23")))


DICE = [chance("answers")]


def sure(ask: Ask) -> dict[str, float]:
    """Yes with 0.6 in all of 0.8 where the answer is right."""
    assert ASKED in ask.text
    chain = ask.text.rpartition(ASKED)[0]
    right = any(form in chain.rpartition("boxed")[2] for form in ("1/2", "0.5", "frac{1}{2}"))
    return {"Y": 0.6, "N": 0.2} if right else {"Y": 0.1, "N": 0.3}


def content() -> Scripted:
    return Scripted(answers, lambda ask, start: [-0.5] * len(ask.ids[start:]), sure)


def asking(folder: Path, questions: int) -> dict[str, Any]:
    path = folder / "questions.jsonl"
    rows = [{"problem": f"question <{i}>", "answer": "0.5"} for i in range(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset_name": str(path), "takeover": "random", "output_dir": folder / "out"}


def check(folder: Path, questions: int, stop: StopName, repeats: int = REPEATS) -> list[Record]:
    """The folder holds every sample once; each question with stopped samples is decided by the others."""
    found = list(samples(folder))
    assert len(found) == questions * repeats
    for number in range(questions):
        own = [s for s in found if s["question_index"] == number]
        ended = sorted(
            (s for s in own if s["exit_status"] != "stopped"), key=lambda s: s["started_at"] + s["duration_seconds"]
        )
        same = {"1/2": "0.5", r"\frac{1}{2}": "0.5"}
        ballots = [Ballot(same.get(s["final_answer"], s["final_answer"])) for s in ended]
        decided = decision(rule(stop), ballots, repeats)
        assert (decided is not None) or len(ended) == repeats
    return found


def run_both(folder: Path, questions: int, **more: Any) -> tuple[dict[str, Any], list[Record]]:
    """ATTS on an emulated pair; its summary and samples."""

    async def run() -> Path:
        DICE[0] = chance("answers", folder.name)
        draft, target = (Server(Served(role=role, name=role[0], content=content())) for role in ("draft", "target"))
        async with draft, target:
            urls = {"small_model_url": draft.url, "eval_model_url": target.url}
            return await evaluate_async(make(AsyncSettings, **PAIR, **urls, **asking(folder, questions), **more), False)

    made = asyncio.run(run())
    return json.loads((made / "summary.json").read_text()), list(samples(made))


def test_a_run_that_stops_saves_samples_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, found = run_both(tmp_path, 12, stop="beta", samples_in_flight=8)
    check(tmp_path / "out", 12, "beta")
    told = summary["stopping"]
    ended = [s for s in found if s["exit_status"] != "stopped"]
    assert told["samples_used"] == len(ended) / 12 < 12
    assert told["cancelled"] + told["never_started"] + len(ended) == 12 * REPEATS
    assert (summary["samples"], summary["owed"]) == (12 * REPEATS, 0)
    assert summary["by_status"]["stopped"] == told["cancelled"] + told["never_started"]
    written = sum(use["written_tokens"] for s in found for use in s["usage"].values())
    assert sum(summary["written_tokens"].values()) == written > 0  # of cancelled samples, too
    assert "samples a question were used" in capsys.readouterr().out
    graded = json.loads(
        asyncio.run(grade(make(AccuracySettings, output_dir=tmp_path / "out", json=True, votes=("majority",))))
    )
    vote = graded["voting"]["votes"]["majority"]["accuracy"]
    assert vote == pytest.approx(summary["majority_at_k"]["16"]) == pytest.approx(graded["majority_at_k"]["16"])
    assert graded["mean_accuracy"] == pytest.approx(summary["mean_accuracy"])
    assert graded["accuracy_by_status"]["stopped"]["accuracy"] is None


def test_answers_that_mean_the_same_decide_together(tmp_path: Path) -> None:
    """Question 0 is always answered by 1/2, 0.5 or a fraction: four samples are enough."""
    _, found = run_both(tmp_path, 1, stop="beta", samples_in_flight=2)
    ended = [s for s in found if s["exit_status"] != "stopped"]
    assert len(ended) in (4, 5)  # another may end in the same moment
    assert len({s["final_answer"] for s in ended}) > 1


@pytest.mark.parametrize("command", ["async", "alone"])
def test_an_interrupted_run_decides_as_if_it_had_not_been(command: str, tmp_path: Path) -> None:
    """Resumed twice: samples that ended stay, those that a decision stopped stay stopped, and the rule holds."""
    flags = asking(tmp_path, 9)
    out = flags["output_dir"]

    async def run() -> None:
        DICE[0] = chance("interrupted", command)
        draft, target = (Server(Served(role=role, name=role[0], content=content())) for role in ("draft", "target"))
        async with draft, target:
            if command == "async":
                urls = {"small_model_url": draft.url, "eval_model_url": target.url}
                settings = make(AsyncSettings, **PAIR, **urls, **flags, stop="beta", samples_in_flight=6)
                once = lambda: evaluate_async(settings, False)  # noqa: E731
            else:
                own = {"small_model_name": "d", "small_model_url": draft.url, **flags}
                del own["takeover"]
                alone = make(BaselineSettings, **own, stop="beta", samples_in_flight=6)
                once = lambda: evaluate_alone(alone)  # noqa: E731
            before: dict[int, Record] = {}
            for enough in (20, 60):
                await cut_off(once(), lambda enough=enough: len(list(out.glob("problem_*.json"))) >= enough)
                now = {s["problem_index"]: s for s in samples(out)}
                done = {index: s for index, s in before.items() if s["exit_status"] != "cancelled"}
                assert {index: now[index] for index in done} == done
                before = now
            assert any(s["exit_status"] == "stopped" for s in before.values())
            await once()

    asyncio.run(run())
    found = check(out, 9, "beta")
    assert {s["exit_status"] for s in found} <= {"answered", "stopped", "turn_limit"}


def test_running_samples_are_aborted_at_the_server_by_their_number(tmp_path: Path) -> None:
    """One question, all samples at once: fifteen wait for a server that takes its time, four answer at once."""
    drafts = iter(range(100))

    def write(_: Ask) -> Written:
        return Written(r"\boxed{1}", "stop") if next(drafts) < 4 else Written("1 " * 500)

    async def run() -> tuple[list[str], list[Record]]:
        served = Served(
            role="draft", name="d", content=Scripted(write, lambda *_: []), timing=Timing(speed=1.0, step_seconds=0.02)
        )
        async with Server(served) as server:
            flags = {**asking(tmp_path, 1), "small_model_name": "d", "small_model_url": server.url}
            del flags["takeover"]
            settings = make(BaselineSettings, **flags, stop="beta", samples_in_flight=16, small_model_concurrency=16)
            await evaluate_alone(settings)
            return server.aborts, list(samples(tmp_path / "out"))

    aborts, found = asyncio.run(run())
    assert Counter(s["exit_status"] for s in found) == {"answered": 4, "stopped": 12}
    assert len(set(aborts)) == len(aborts) == 12


@pytest.mark.parametrize("whom", ["draft", "target", "both"])
def test_confidences_are_asked_stored_and_voted_by(whom: str, tmp_path: Path) -> None:
    _, found = run_both(tmp_path, 3, confidence=whom, repeats=4, turns=20)
    asked = {"both": {"draft", "target"}}.get(whom, {whom})
    for sample in found:
        right = any(form == sample["final_answer"] for form in ("1/2", "0.5", r"\frac{1}{2}"))
        wanted = {"yes": 0.6, "no": 0.2} if right else {"yes": 0.1, "no": 0.3}
        assert sample["confidence"].keys() == asked
        assert all(told == pytest.approx(wanted) for told in sample["confidence"].values())
        assert sample["usage"]["confidence"]["requests"] == len(asked)
    settings = make(AccuracySettings, output_dir=tmp_path / "out", json=True, votes=("weighted", "best_of_n"))
    voting = json.loads(asyncio.run(grade(settings)))["voting"]
    assert voting["confidence"] == ("draft" if whom == "draft" else "target")
    assert voting["quality"]["auroc_within"] in (None, 1.0)


def test_a_model_alone_says_how_sure_it_is_as_the_draft(tmp_path: Path) -> None:
    async def run() -> Path:
        DICE[0] = chance("alone")
        async with Server(Served(role="draft", name="d", content=content())) as server:
            flags = {**asking(tmp_path, 3), "small_model_name": "d", "small_model_url": server.url}
            del flags["takeover"]
            return await evaluate_alone(make(BaselineSettings, **flags, repeats=4, confidence="draft"))

    made = asyncio.run(run())
    assert all(sample["confidence"].keys() == {"draft"} for sample in samples(made))
    chosen: dict[str, Any] = {"votes": ("weighted",), "vote_confidence": "draft"}
    voting = json.loads(asyncio.run(grade(make(AccuracySettings, output_dir=made, json=True, **chosen))))["voting"]
    assert voting["quality"]["auroc_within"] in (None, 1.0)


def test_a_sure_answer_is_enough_for_es(tmp_path: Path) -> None:
    """The first answer with 0.75 is right, so the vote is, whatever the majority says."""
    summary, found = run_both(tmp_path, 9, stop="es", stop_threshold=0.7, confidence="target", samples_in_flight=2)
    for number in range(9):
        ended = [s for s in found if s["question_index"] == number and s["exit_status"] != "stopped"]
        told = [s["confidence"]["target"] for s in ended]
        assert sum(one["yes"] > one["no"] for one in told) in (1, 2)
    assert summary["stopping"]["samples_used"] < 6


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    flags = {**PAIR, **asking(tmp_path, 1)}
    for more, message in (
        ({"stop": "es"}, "--stop es goes by confidence"),
        ({"stop": "beta", "stop_threshold": 0.4}, "between 0.5 and 1"),
        ({"stop": "beta", "compat": "published"}, "is not part of --compat published"),
    ):
        with pytest.raises(ValueError, match=message):
            make(AsyncSettings, **{**flags, **more})


def test_a_resumed_run_keeps_to_its_rule(tmp_path: Path) -> None:
    run_both(tmp_path, 1, stop="beta", repeats=4)
    with pytest.raises(UserError, match="stop: made with 'beta', now 'none'"):
        run_both(tmp_path, 1, repeats=4)


@pytest.mark.servers
def test_real_servers_stop_and_say_how_sure_they_are(servers: Pair, tmp_path: Path) -> None:
    """The demo pair: both are asked, questions are decided, and nothing is left at work behind the run."""
    data = ("--dataset_name", "demo", "--max_problems", "4", "--repeats", "12", "--turns", "20", "--takeover", "random")
    chunks = ("--small_model_max_tokens", "24", "--evalator_max_tokens", "24")
    flags = (*servers.flags, *data, *chunks, "--output_dir", "out", "--samples_in_flight", "24")
    done = door("ref_async", *flags, "--stop", "beta", "--confidence", "both", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "samples a question were used" in done.stdout
    found = list(samples(tmp_path / "out"))
    assert len(found) == 48
    assert Counter(s["exit_status"] for s in found)["stopped"] > 0
    for sample in found:
        if sample["exit_status"] == "answered":
            assert sample["confidence"].keys() == {"draft", "target"}
            assert all(0 < one["yes"] + one["no"] <= 1.0001 for one in sample["confidence"].values())
