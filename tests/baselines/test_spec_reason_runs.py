"""SpecReason whole: runs through its front door, and what they need of servers and data sets."""

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Pair, door
from scripted import Script, openai_only

from ATTS import demo
from ATTS.baselines.flags import SpecReasonSettings
from ATTS.baselines.prompts import spec_reason_maths
from ATTS.baselines.spec_reason.loop import Grade, Step
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.spec_reason.speakers import OpenAISpeaker, SGLangSpeaker
from ATTS.emulator import Content, Scripted, Served, Server, Written
from ATTS.errors import ContextFull, UserError
from ATTS.flags import make
from ATTS.serving.client import SGLangModel, inspect_openai
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.tasks.datasets import load

TOKENIZER = ModelTokenizer(str(demo.MODELS["target"]))
USER = spec_reason_maths("1 + 1?")
NINE = {"9": 1.0}


def settings(urls: Sequence[str], folder: Path, **more: Any) -> SpecReasonSettings:
    base: dict[str, Any] = {
        "small_model_name": "draft-model",
        "eval_model_name": "target-model",
        "small_model_url": urls[0],
        "eval_model_url": urls[1],
        "dataset_name": "demo",
        "max_problems": 2,
        "repeats": 2,
        "output_dir": folder,
        "backend": "openai",
        "max_retries": 0,
    }
    return make(SpecReasonSettings, **base | more)


def test_a_whole_run_needs_nothing_but_the_openai_api_and_its_key(tmp_path: Path, monkeypatch: Any) -> None:
    """Also one question, one repeat, and a resume that asks nothing."""
    draft = Script([r"\boxed{1}$"] * 4)
    target = Script([], [NINE] * 4)

    async def main() -> None:
        async with openai_only("draft", draft, "k1") as one, openai_only("target", target, "k1") as two:
            with pytest.raises(UserError, match="4 of 4 samples failed"):
                await evaluate_spec_reason(settings([one, two], tmp_path / "nokey"))
            monkeypatch.setenv("OPENAI_API_KEY", "k1")
            single = settings([one, two], tmp_path / "out", problem_id=1, repeat_id=1)
            folder = await evaluate_spec_reason(single)
            assert [path.name for path in folder.glob("problem_*.json")] == ["problem_0003.json"]
            await evaluate_spec_reason(settings([one, two], tmp_path / "out"))
            assert len(list(folder.glob("problem_*.json"))) == 4
            await evaluate_spec_reason(settings([one, two], tmp_path / "out"))
            with pytest.raises(UserError, match="no question 7"):
                await evaluate_spec_reason(settings([one, two], tmp_path / "other", problem_id=7))
            with pytest.raises(UserError, match="serves draft-model, not nobody"):
                await evaluate_spec_reason(settings([one, two], tmp_path / "other", small_model_name="nobody"))

    asyncio.run(main())
    assert not draft.texts
    assert "k1" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_full_context_is_a_status_of_its_own_and_no_failure_of_the_server() -> None:
    async def main() -> None:
        async with openai_only("target", Script(["a\n\n"]), context=len(USER) + 40) as url, new_session(30) as session:
            model = await inspect_openai(session, url, "target", "target-model", 1, 0)
            speaker = OpenAISpeaker(model, "target-model", USER, 0.6, 0.95)
            assert (await speaker.step([], 9)).text == "a"
            with pytest.raises(ContextFull, match="maximum context length"):
                await speaker.step(["a\n\n" * 10], 9)

    asyncio.run(main())


def test_data_sets_go_by_specreasons_own_names_and_numbers() -> None:
    def named(name: str, **more: Any) -> SpecReasonSettings:
        return make(SpecReasonSettings, small_model_name="a", eval_model_name="b", dataset_name=name, **more)

    assert named("aime", problem_id=60).data.dataset_name == "aime24"
    assert named("aime", problem_id=60).data.problem_id == 0
    assert named("aime", aime_year=2025, problem_id=3).data.problem_id == 3
    assert named("math").data.dataset_name == "math500"
    for bad, message in (
        ({"repeat_id": 16}, "--repeat_id"),
        ({"token_budget": 0}, "--token_budget"),
        ({"aime_year": 2023}, "--aime_year"),
    ):
        with pytest.raises(ValueError, match=message):
            named("aime", **bad)
    with pytest.raises(ValueError, match="numbered from 60"):
        named("aime", problem_id=5)


def test_an_emulated_server_tells_the_likelihood_of_given_tokens_if_its_content_knows_it() -> None:
    knows = Scripted(lambda _: Written("7"), lambda *_: [], lambda _: {"7": 0.5, "1": 0.25})
    knows_not = Scripted(knows.writer, knows.scorer)
    seven, one = TOKENIZER.encode("71")
    body = {"input_ids": [5, 6], "sampling_params": {"max_new_tokens": 1}, "return_logprob": True}

    async def ask(content: Content, **more: Any) -> tuple[int, Any]:
        served = Served(role="target", name="target-model", content=content)
        async with Server(served) as server, new_session(30) as session:
            response = await session.post(f"{server.url}/generate", json=body | more)
            return response.status, (await response.json()).get("meta_info", {})

    _, meta = asyncio.run(ask(knows, token_ids_logprob=[one, 0, seven]))
    told = meta["output_token_ids_logprobs"][0]
    assert [token for _, token, _ in told] == [one, 0, seven]
    assert told[0][0] == pytest.approx(math.log(0.25))
    assert told[1][0] < -100
    _, meta = asyncio.run(ask(knows, top_logprobs_num=1))
    assert meta["output_top_logprobs"] == [[[pytest.approx(math.log(0.5)), seven, None]]]
    assert asyncio.run(ask(knows_not, token_ids_logprob=[one]))[0] == 400


@pytest.mark.servers
def test_both_backends_read_the_same_grade_off_a_real_server(servers: Pair) -> None:
    """All ten digits from /generate; of those, chat completions tell the ones among the ten likeliest tokens."""
    question = next(iter(load("demo", max_problems=1)))
    user = spec_reason_maths(question.problem)

    async def main() -> tuple[Grade, Grade, Step, Step]:
        url = f"http://127.0.0.1:{servers.target_port}"
        async with new_session(60) as session:
            info = await inspect(session, url, "target", "demo-target")
            model = SGLangModel(session, url, "target", info, asyncio.Semaphore(4), 0, 0.95)
            exact = SGLangSpeaker(model, TOKENIZER, user, 0.0)
            told = OpenAISpeaker(model, "demo-target", user, 0.0, 0.95)
            first = await exact.step([], 200)
            pieces = [first.text + "\n\n"]
            return await exact.grade(pieces), await told.grade(pieces), first, await told.step([], 200)

    exact, told, one, two = asyncio.run(main())
    assert one.text == two.text
    assert (one.end, two.end) == ("break", "break")
    assert exact.token == told.token
    assert sorted(exact.digits) == list(range(10))
    assert 0 < sum(exact.digits.values()) <= 1.001
    for digit, p in told.digits.items():
        assert exact.digits[digit] == pytest.approx(p, rel=1e-2, abs=1e-4)


@pytest.mark.servers
def test_the_command_runs_on_real_servers_and_says_what_is_wrong(servers: Pair, tmp_path: Path) -> None:
    flags = (*servers.flags, "--dataset_name", "demo", "--max_problems", "2", "--repeats", "1", "--output_dir", "out")
    done = door("spec_reason", *flags, "--token_budget", "150", "--score_method", "average", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "out").glob("problem_*.json"):
        sample = json.loads(path.read_text())
        assert sample["exit_status"] in {"answered", "token_budget", "repeated", "draft_ended", "target_ended"}
        assert sample["usage"]["grade"]["requests"] >= 1
    graded = door("compute_accuracy", "--output_dir", "out", cwd=tmp_path)
    assert graded.returncode == 0, graded.stderr
    other = door("spec_reason", *flags, "--token_budget", "151", cwd=tmp_path)
    assert other.returncode == 2
    assert "token_budget: made with 150, now 151" in other.stderr
