"""Whole folders judged and read again by models behind an OpenAI-compatible endpoint."""

import asyncio
import gc
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import door
from openai_server import KEY, Reply, serve

from ATTS.analysis.re_extract import ReExtractSettings, re_extract
from ATTS.emulator import Scripted, Served, Server, Written
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_alone
from ATTS.runs.settings import BaselineSettings
from ATTS.store.journal import Journal
from ATTS.store.replies import ReplyCache

TEXTS = (r"It is \boxed{\frac{1}{2}}.", r"So \boxed{0.4} or so", r"It \boxed{7}", "I have no idea")
AT_RUN_TIME = [r"\frac{1", "0.4", "7", "invalid"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two questions of two repeats, as the published driver writes them; data.jsonl beside it."""
    questions = [{"problem": "Half?", "answer": "1/2"}, {"problem": "Which?", "answer": "seven apples"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    (tmp_path / "results").mkdir()
    for index, (text, answer) in enumerate(zip(TEXTS, AT_RUN_TIME, strict=True)):
        history = [
            {"turn": 0, "model": "small", "output": text[:2]},
            {"turn": 0, "model": "eval_ppl", "ppl": float("inf"), "percentile": 1.0},
            {"turn": 0, "model": "eval_generate", "output": text[2:]},
        ]
        content = {"problem_index": index, "final_answer": answer, "duration_seconds": 1.0, "full_history": history}
        content["question"] = questions[index // 2]["problem"]
        (tmp_path / f"results/problem_{index:04d}.json").write_text(json.dumps(content))
    return tmp_path / "results"


FLAGS = ("--dataset_name", "data.jsonl", "--repeats", "2", "--json")


@pytest.mark.parametrize(
    "environment",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "nonsense://127.0.0.1:9"},
        {"SSL_CERT_FILE": "/nonexistent/certificates.pem"},
        {"OPENAI_API_KEY": "a b\nc"},
        {"OPENAI_API_KEY": "clé"},
        {"OPENAI_BASE_URL": "127.0.0.1:9/v1"},
    ],
)
def test_an_environment_in_which_no_model_can_be_reached_is_told_in_a_line_before_any_work(
    folder: Path, environment: dict[str, str]
) -> None:
    set_ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", **environment}
    told = door("compute_accuracy", "--output_dir", "results", *FLAGS, "--judge", "llm", cwd=folder.parent, **set_)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in told.stderr
    assert environment.get("OPENAI_API_KEY", KEY) not in told.stderr


@pytest.mark.parametrize("judge", ["llm", "both"])
def test_a_model_whose_every_reply_is_unreadable_is_an_error_and_no_accuracy(folder: Path, judge: str) -> None:
    with serve(lambda *_: ("cut", "<think>Okay")) as endpoint:
        flags = ("--output_dir", "results", *FLAGS, "--judge", judge)
        told = door("compute_accuracy", *flags, cwd=folder.parent, **endpoint.environment)
        assert told.returncode == 2
        assert "could be read" in told.stderr
        assert told.stdout == ""
        assert not (folder.parent / "evaluation/llm_replies.jsonl").exists()
        before = [path.read_bytes() for path in sorted(folder.iterdir())]
        flags = ("--input_dir", "results", *FLAGS, "--extract_mode", "llm")
        told = door("re_extract", *flags, cwd=folder.parent, **endpoint.environment)
    assert told.returncode == 2
    assert "error: " in told.stderr
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before


def test_with_both_judges_the_model_looks_only_where_algebra_says_no_and_a_rerun_costs_nothing(folder: Path) -> None:
    def reply(message: str, _: int) -> Reply:
        return "Match" if "seven apples" in message else "Mismatch"

    first_sample = folder / "problem_0000.json"
    first_sample.write_text(json.dumps({**json.loads(first_sample.read_text()), "final_answer": "0.5"}))
    with serve(reply) as endpoint:
        flags = ("--output_dir", "results", *FLAGS, "--judge", "both")
        first = door("compute_accuracy", *flags, cwd=folder.parent, **endpoint.environment)
        assert first.returncode == 0, first.stderr
        asked = len(endpoint.asked)
        again = door("compute_accuracy", *flags, cwd=folder.parent, **endpoint.environment)
    result, repeated = json.loads(first.stdout), json.loads(again.stdout)
    assert asked == len(endpoint.asked) == 2 + 1  # 0.4 and 7, and the second question as published
    assert result["mean_accuracy"] == repeated["mean_accuracy"] == 0.5
    assert result["judge"]["any_of_all"] == 1.0
    assert result["judge"]["disagreements"] == [
        {
            "question_index": 1,
            "reference": "seven apples",
            "answer": "7",
            "math": "different",
            "llm": "equal",
            "samples": 1,
        }
    ]
    assert (result["judge"]["requests"], result["judge"]["prompt_tokens"]) == (3, 300)
    assert (repeated["judge"]["requests"], repeated["judge"]["cached"]) == (0, 3)
    written = [path.read_text() for path in folder.parent.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in (*written, first.stdout, first.stderr))


def test_answers_read_again_by_a_model_keep_what_was_read_before_and_go_on_after_a_failure(folder: Path) -> None:
    fault: list[Reply] = [("status", 400)]

    def reply(message: str, _: int) -> Reply:
        if "0.4" in message and fault:
            return fault[0]
        return "1/2" if "Half?" in message else "7" if "7" in message else "invalid"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        flags = ("--input_dir", "results", *FLAGS, "--extract_mode", "llm", "--concurrency", "1", *more)
        return door("re_extract", *flags, cwd=folder.parent, **endpoint.environment)

    def samples() -> list[dict[str, Any]]:
        return [json.loads((folder / f"problem_{i:04d}.json").read_text()) for i in range(4)]

    before = samples()
    with serve(reply) as endpoint:
        stopped = run()
        assert stopped.returncode == 2
        assert "can't be asked" in stopped.stderr
        assert KEY not in stopped.stderr
        assert len(endpoint.asked) == 2
        assert samples()[1:] == before[1:]
        fault.clear()
        files = {path: path.read_bytes() for path in folder.iterdir()}
        tried = run("--dry_run")
        assert json.loads(tried.stdout)["changed"] == 1  # the first was done before
        assert {path: path.read_bytes() for path in folder.iterdir()} == files
        done = run()
        assert len(endpoint.asked) == 2 + 3  # nothing twice
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean_accuracy"] == 0.5
    after = samples()
    assert [s["final_answer"] for s in after] == ["1/2", "1/2", "7", "invalid"]
    assert [s["final_answer_llm"] for s in after] == ["1/2", "1/2", "7", "invalid"]
    assert [s["final_answer_runtime"] for s in after] == AT_RUN_TIME
    assert [s["final_answer_regex"] for s in after] == [r"\frac{1}{2}", "0.4", "7", "invalid"]
    for sample, old in zip(after, before, strict=True):
        added = {"final_answer_runtime", "final_answer_regex", "final_answer_llm"}
        assert {k: v for k, v in sample.items() if k not in added} == {**old, "final_answer": sample["final_answer"]}


def test_a_run_that_fails_closes_the_client_of_the_model_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/problem_0000.json").write_text(json.dumps({"problem_index": 0, "full_history": []}))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    content = Scripted(lambda _: Written("x"), lambda ask, start: [-0.5] * len(ask.ids[start:]))

    async def run() -> None:
        async with Server(Served(role="draft", name="demo-draft", content=content)) as server:
            settings = make(
                BaselineSettings,
                dataset_name="demo",
                small_model_name="demo-draft",
                small_model_url=server.url,
                output_dir=tmp_path / "run",
                extract_mode="llm",
            )
            with pytest.raises(UserError, match="unknown origin"):
                await evaluate_alone(settings)

    asyncio.run(run())
    clients = [one for one in gc.get_objects() if type(one) is openai.AsyncOpenAI]
    assert all(client.is_closed() for client in clients)


def test_nothing_is_flushed_to_the_disk_by_the_thread_that_serves_requests(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of a calibration, a judge's replies, samples that are read again."""
    flushed: list[bool] = []
    flush = os.fsync

    def watched(file: int) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            flushed.append(False)
        else:
            flushed.append(True)
        flush(file)

    cache = ReplyCache(tmp_path / "replies")
    settings = make(ReExtractSettings, input_dir=folder, dataset_name=str(tmp_path / "data.jsonl"), repeats=2)

    async def run() -> None:
        with Journal(tmp_path / "array.npy", "digest") as partial:
            monkeypatch.setattr(os, "fsync", watched)
            await asyncio.gather(*(partial.add({"row": row}) for row in range(20)))
        await asyncio.gather(*(cache.add(str(name), "Match") for name in range(20)))
        await re_extract(settings)

    asyncio.run(run())
    assert flushed
    assert not any(flushed)
    with Journal(tmp_path / "array.npy", "digest") as partial:
        assert [entry["row"] for entry in partial.entries] == list(range(20))
    again = ReplyCache(tmp_path / "replies")
    assert all(again.get(str(name)) == "Match" for name in range(20))
