"""Models behind an OpenAI-compatible endpoint, asked over HTTP: as judges and as readers of answers."""

import asyncio
import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import door
from openai_server import KEY, Endpoint, Reply, serve

from ATTS.errors import UserError
from ATTS.tasks import llm
from ATTS.tasks.equivalence import Verdict
from ATTS.tasks.judge import LLMJudge

FAULTS: dict[str, tuple] = {
    "429": ("status", 429, {"Retry_After": "1"}),
    "500": ("status", 500),
    "503": ("status", 503),
    "time-out": ("hang", 5.0),
    "torn JSON": ("torn", "Match"),
}


def judged(
    endpoint: Endpoint, *answers: str, cache: Path | None = None, retries: int = 1, timeout: float = 30
) -> tuple[list, LLMJudge]:
    async def run() -> tuple[list, LLMJudge]:
        asked = llm.Endpoint("--judge llm", endpoint.environment, retries=retries, timeout=timeout, cache=cache)
        judge = LLMJudge(asked)
        try:
            return [await judge.matches("1 + 1?", "2", answer) for answer in answers], judge
        finally:
            await asked.close()

    return asyncio.run(run())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_not_noticed(fault: str) -> None:
    with serve(lambda _, before: FAULTS[fault] if before == 0 else "Match") as endpoint:
        verdicts, judge = judged(endpoint, "two", timeout=2 if fault == "time-out" else 30)
    assert verdicts == [Verdict.EQUAL]
    assert len(endpoint.asked) == 2
    assert (judge.endpoint.spent.requests, judge.endpoint.spent.failed) == (1, 0)
    if fault == "429":
        assert endpoint.asked[1][1] - endpoint.asked[0][1] >= 1  # as the server asked


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_leaves_one_answer_undecided_and_the_others_judged(fault: str, tmp_path: Path) -> None:
    """What failed is not remembered: the next run asks again."""

    def reply(message: str, _: int) -> Reply:
        return FAULTS[fault] if "cursed" in message else "Mismatch"

    with serve(reply) as endpoint:
        timeout = 2 if fault == "time-out" else 30
        verdicts, judge = judged(endpoint, "fine", "cursed", cache=tmp_path / "replies", retries=0, timeout=timeout)
    assert verdicts == [Verdict.DIFFERENT, Verdict.UNDECIDED]
    assert judge.endpoint.spent.failed == 1
    with serve(lambda *_: "Match") as endpoint:
        verdicts, judge = judged(endpoint, "fine", "cursed", cache=tmp_path / "replies")
    assert verdicts == [Verdict.DIFFERENT, Verdict.EQUAL]
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Match", Verdict.EQUAL),
        (" **match**.\n", Verdict.EQUAL),
        ("Mismatch", Verdict.DIFFERENT),
        ("Match or Mismatch", Verdict.UNDECIDED),
        ("I would say they match", Verdict.UNDECIDED),
        ("", Verdict.UNDECIDED),
        (("refusal",), Verdict.UNDECIDED),
        (("nothing", ""), Verdict.UNDECIDED),
    ],
)
def test_only_the_two_words_count_and_anything_else_is_undecided(reply: Reply, verdict: Verdict) -> None:
    with serve(lambda *_: reply) as endpoint:
        verdicts, judge = judged(endpoint, "2.0")
    assert verdicts == [verdict]
    assert judge.unreadable == (verdict is Verdict.UNDECIDED)
    assert judge.cost()["prompt_tokens"] == 100
    assert judge.cost()["completion_tokens"] == 2


@pytest.mark.parametrize(("status", "message"), [(401, "can't be asked"), (404, "can't be asked"), (500, "not answer")])
def test_an_endpoint_that_never_works_ends_the_command_and_tells_no_key(
    status: int, message: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(lambda *_: ("status", status)) as endpoint, pytest.raises(UserError, match=message) as told:
        judged(endpoint, *"abcdef", retries=0, cache=tmp_path / "replies")
    assert endpoint.keys == {f"Bearer {KEY}"}  # it was used
    assert KEY not in str(told.value)
    assert KEY not in caplog.text
    assert not (tmp_path / "replies").exists()


def test_a_torn_cache_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "replies"
    with serve(lambda *_: "Match") as endpoint:
        judged(endpoint, "1", "2", cache=path)
        path.write_bytes(path.read_bytes()[:-20])
        judged(endpoint, "1", "2", cache=path)
        assert len(endpoint.asked) == 3
        judged(endpoint, "1", "2", cache=path)
        assert len(endpoint.asked) == 3


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
