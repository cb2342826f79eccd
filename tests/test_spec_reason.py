"""SpecReason's step protocol, over an emulated SGLang server and over one that speaks only the OpenAI API."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Pair, door
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, openai_only, sglang

from ATTS import demo
from ATTS.method import prompts
from ATTS.method.prompts import SPEC_REASON_JUDGE, SPEC_REASON_SCORE, THINK
from ATTS.method.spec_reason import Grade, Reasoning, Rules, Speaker, Step, spec_reason
from ATTS.method.types import ContextFull, ExitStatus, ScoreFailed, ServerFailed, Stage, Usage
from ATTS.problem import Problem
from ATTS.runs.baseline_settings import SpecReasonSettings
from ATTS.runs.records import Key, record
from ATTS.runs.spec_reason import evaluate_spec_reason
from ATTS.serving.client import SGLangModel, inspect, inspect_openai, new_session
from ATTS.serving.emulator import Content, Scripted, ScriptedLikely, Served, Server, Written
from ATTS.serving.speakers import OpenAISpeaker, SGLangSpeaker
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question, load

TOKENIZER = ModelTokenizer(str(demo.MODELS["target"]))
USER = prompts.spec_reason_maths("1 + 1?")
NINE, SEVEN, THREE, WORD = {"9": 1.0}, {"7": 0.9, "1": 0.1}, {"3": 0.8, "9": 0.2}, {"final ": 0.9, "9": 0.1}
BACKENDS = ("sglang", "openai")


def run(draft: Script, target: Script, backend: str = "sglang", **rules: Any) -> tuple[ExitStatus, Reasoning]:
    settings: dict[str, Any] = {"score_threshold": 7, "score_method": "greedy", "token_budget": 1000, **rules}
    chain = Reasoning(find_answer)

    async def speaker(session: Any, url: str, role: str) -> Speaker:
        published = settings.get("published", False)
        if backend == "openai":
            model = await inspect_openai(session, url, role, f"{role}-model", 4, 0)
            return OpenAISpeaker(model, f"{role}-model", USER, 0.6, 0.95, published)
        info = await inspect(session, url, role, f"{role}-model")
        return SGLangSpeaker(
            SGLangModel(session, url, role, info, asyncio.Semaphore(4), 0, 0.95), TOKENIZER, USER, 0.6, published
        )

    async def main() -> ExitStatus:
        serve = openai_only if backend == "openai" else sglang
        async with serve("draft", draft) as first, serve("target", target) as second, new_session(30) as session:
            speakers = await speaker(session, first, "draft"), await speaker(session, second, "target")
            return await spec_reason(chain, *speakers, Rules(**settings))

    return asyncio.run(main()), chain


def stages(chain: Reasoning) -> list[str]:
    return [event.stage.value for event in chain.history]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_good_step_is_kept_and_a_bad_one_is_written_anew_by_the_target_which_does_not_see_it(backend: str) -> None:
    draft = Script(["first step\n\n", "wrong step\n\n", r"so \boxed{2}$"])
    target = Script(["right step\n\n"], [NINE, THREE, NINE])
    status, chain = run(draft, target, backend)
    assert (status, chain.answer) == (ExitStatus.ANSWERED, "2")
    assert chain.text == "first step\n\nright step\n\nso \\boxed{2}\n\n"
    assert stages(chain) == [
        *("small", "eval_score"),
        *("small_discarded", "eval_score", "eval_generate"),
        *("small", "eval_score"),
    ]
    (prompt, limit) = target.asks[0]
    assert prompt.endswith(THINK + "first step\n\n")
    assert "wrong" not in prompt
    assert limit == 512
    assert not any("wrong" in prompt for prompt, _ in draft.asks)
    assert "".join(e.output or "" for e in chain.history if not e.stage.discarded) == chain.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_target_is_asked_to_grade_the_last_step_in_an_unfinished_turn_of_its_own(backend: str) -> None:
    target = Script([], [NINE, NINE])
    run(Script(["one\n\n", r"\boxed{2}$"]), target, backend)
    for prompt, steps in zip(target.graded, ("one\n\n", "one\n\n\\boxed{2}\n\n"), strict=True):
        end = "" if backend == "openai" else "<|end|>"
        assert prompt == (
            f"<|user|>{USER}{end}<|assistant|>{THINK}{steps}{end}"
            f"<|user|>{SPEC_REASON_JUDGE}{end}<|assistant|>{SPEC_REASON_SCORE}"
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("method", "grade", "score"),
    [
        ("greedy", SEVEN, 7),
        ("greedy", WORD, 0),
        ("average", {"7": 0.25, "8": 0.25, "final ": 0.5}, 7.5),
        ("average", {"final ": 1.0}, 0),
    ],
)
def test_the_threshold_is_inclusive_and_what_is_no_digit_counts_as_nothing(
    backend: str, method: str, grade: Mapping[str, float], score: float
) -> None:
    for threshold, kept in ((score, True), (score + 0.01, False)):
        draft, target = Script([r"\boxed{1}$"]), Script([r"\boxed{2}$"], [grade])
        _, chain = run(draft, target, backend, score_threshold=threshold, score_method=method)
        told = next(event.details for event in chain.history if event.stage is Stage.GRADE)
        assert told["score"] == pytest.approx(score, abs=1e-9)
        assert chain.answer == ("1" if kept else "2")


@given(st.dictionaries(st.integers(0, 9), st.floats(1e-6, 1), max_size=10))
def test_an_average_grade_lies_between_the_digits_it_averages(digits: dict[int, float]) -> None:
    score = Grade("?", digits, Usage()).score("average")
    assert min(digits, default=0) - 1e-9 <= score <= max(digits, default=0) + 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_steps_can_be_the_targets_undrafted_and_ungraded(backend: str) -> None:
    target = Script(["one\n\n", "two\n\n"], [NINE])
    _, chain = run(Script([r"\boxed{3}$"]), target, backend, first_n_steps=2)
    assert stages(chain) == ["eval_generate", "eval_generate", "small", "eval_score"]


@pytest.mark.parametrize("published", [False, True])
def test_thinking_goes_on_behind_its_end_unless_there_is_an_answer(published: bool) -> None:
    draft = Script(["b</think>\n\n", r"</think>\boxed{2}$"])
    _, chain = run(draft, Script(["a</think>\n\n"], [NINE, NINE]), first_n_steps=1, published=published)
    first = "a</think>" if published else "a"  # the published code forgot the target's first steps
    assert chain.text == f"{first}\n\nb\n\n</think>\\boxed{{2}}\n\n"
    assert [bool(event.details.get("warning")) for event in chain.history if event.output] == [
        not published,
        True,
        False,
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_equal_steps_in_a_row_end_a_sample_of_more_than_two(backend: str) -> None:
    draft = Script(["same\n\n", "same\n\n", "same\n\n"])
    status, chain = run(draft, Script([], [NINE] * 3), backend)
    assert status is ExitStatus.REPEATED
    assert chain.steps == ["same"] * 3
    draft = Script(["a\n\n", "b\n\n", "a\n\n", "b\n\n", r"\boxed{1}$"])  # a cycle is none
    assert run(draft, Script([], [NINE] * 5), backend)[0] is ExitStatus.ANSWERED


def test_the_budget_counts_kept_steps_only_and_beats_an_answer() -> None:
    step = "January bought\n\n"
    cost = len(TOKENIZER.encode(step))
    draft = Script([step, "x" + step, "y" + step, r"\boxed{1}$"])
    target = Script(["February sold\n\n"], [NINE, THREE, NINE, NINE])
    kept = cost + len(TOKENIZER.encode("February sold\n\n")) + len(TOKENIZER.encode("y" + step))
    status, chain = run(draft, target, token_budget=kept)
    assert status is ExitStatus.BUDGET_SPENT
    assert len(chain.steps) == 3
    status, chain = run(Script([r"\boxed{1}$"]), Script([], [NINE]), token_budget=1)
    assert (status, chain.answer) == (ExitStatus.BUDGET_SPENT, "1")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_the_limit_cut_goes_on_where_it_was_cut(backend: str) -> None:
    def texts() -> list[str]:
        return ["half a ~", "sentence.\n\n", r"\boxed{1}$"]

    draft = Script(texts())
    _, chain = run(draft, Script([], [NINE] * 3), backend, step_tokens=9)
    assert chain.text == "half a sentence.\n\n\\boxed{1}\n\n"
    assert draft.asks[1][0].endswith("half a ")
    assert {limit for _, limit in draft.asks} == {9}
    _, chain = run(Script(texts()), Script([], [NINE] * 3), backend, published=True)
    assert chain.text == "half a \n\nsentence.\n\n\\boxed{1}\n\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_a_whole_box_is_an_answer(backend: str) -> None:
    def texts() -> list[str]:
        return ["I will put it in boxed form\n\n", r"\boxed{1}$"]

    assert run(Script(texts()), Script([], [NINE] * 2), backend)[0] is ExitStatus.ANSWERED
    status, chain = run(Script(texts()), Script([], [NINE] * 2), backend, published=True)
    assert (status, chain.answer) == (ExitStatus.UNANSWERED, None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_ends_the_text_ends_the_sample(backend: str) -> None:
    assert run(Script(["so$"]), Script([], [NINE]), backend)[0] is ExitStatus.DRAFT_ENDED
    assert run(Script(["so$"]), Script(["no$"], [THREE]), backend)[0] is ExitStatus.TARGET_ENDED
    draft = Script(["so$", "and$", r"\boxed{1}$"])
    assert run(draft, Script([], [NINE] * 3), backend, published=True)[0] is ExitStatus.ANSWERED


@pytest.mark.parametrize("backend", BACKENDS)
def test_exactly_one_think_opens_the_answer(backend: str) -> None:
    for published, first in ((False, THINK), (True, "")):
        draft = Script(["a\n\n", r"\boxed{1}$"])
        run(draft, Script([], [NINE] * 2), backend, published=published)
        tail = "<|assistant|>" if backend == "sglang" or not published else USER
        assert draft.asks[0][0].endswith(tail + first)
        assert draft.asks[1][0].endswith(f"<|assistant|>{THINK}a\n\n")


def test_published_digits_are_those_among_the_ten_likeliest_tokens() -> None:
    words = dict.fromkeys(("January ", "February ", "March ", "April ", "May ", "June ", "July ", "a", "b"), 0.09)
    grade = {**words, "9": 0.1, "1": 0.05}
    for published, score in ((False, (9 * 0.1 + 1 * 0.05) / 0.15), (True, 9)):
        _, chain = run(
            Script([r"\boxed{1}$"]), Script([r"\boxed{1}$"], [grade]), score_method="average", published=published
        )
        assert chain.history[1].details["score"] == pytest.approx(score)


def test_a_server_that_knows_no_probabilities_fails_the_score_not_the_run() -> None:
    class Silent(Script):
        def grade(self, prompt: str) -> Mapping[str, float]:
            raise LookupError("no")

    with pytest.raises(ServerFailed, match="refused a request"):
        run(Script(["a\n\n"]), Silent())


def test_a_reply_without_a_grade_is_a_failed_score_and_no_number() -> None:
    with pytest.raises(ScoreFailed, match="no log-probabilities"):
        run(Script(["a\n\n"]), Script([], [{}]), "openai")


def test_a_record_tells_what_every_role_spent_and_that_the_outputs_are_the_chain() -> None:
    draft, target = Script(["wrong\n\n", r"\boxed{2}$"]), Script(["right\n\n"], [THREE, NINE])
    status, chain = run(draft, target)
    told = record(Key(Question(0, "1 + 1?", "2"), 0, 1), chain, status, None, 1.0, {})
    assert "".join(entry.get("output", "") for entry in told["full_history"]) == chain.text
    usage = told["usage"]
    assert {role: use["requests"] for role, use in usage.items()} == {
        "draft": 1,
        "score": 0,
        "continue": 1,
        "grade": 2,
        "draft_discarded": 1,
    }
    assert all(use["written_tokens"] > 0 for role, use in usage.items() if role != "score")
    grade = told["full_history"][1]
    assert (grade["model"], grade["score"], grade["accepted"], grade["token"]) == ("eval_score", 3, False, "3")


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
    return SpecReasonSettings(**base | more)


def test_a_whole_run_needs_nothing_but_the_openai_api_and_its_key(tmp_path: Path, monkeypatch: Any) -> None:
    """Also one question, one repeat, and a resume that asks nothing."""
    draft = Script([r"\boxed{1}$"] * 4)
    target = Script([], [NINE] * 4)

    async def main() -> None:
        async with openai_only("draft", draft, "k1") as one, openai_only("target", target, "k1") as two:
            with pytest.raises(Problem, match="4 of 4 samples failed"):
                await evaluate_spec_reason(settings([one, two], tmp_path / "nokey"))
            monkeypatch.setenv("OPENAI_API_KEY", "k1")
            single = settings([one, two], tmp_path / "out", problem_id=1, repeat_id=1)
            folder = await evaluate_spec_reason(single)
            assert [path.name for path in folder.glob("problem_*.json")] == ["problem_0003.json"]
            await evaluate_spec_reason(settings([one, two], tmp_path / "out"))
            assert len(list(folder.glob("problem_*.json"))) == 4
            await evaluate_spec_reason(settings([one, two], tmp_path / "out"))
            with pytest.raises(Problem, match="no question 7"):
                await evaluate_spec_reason(settings([one, two], tmp_path / "other", problem_id=7))
            with pytest.raises(Problem, match="serves draft-model, not nobody"):
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
        return SpecReasonSettings(small_model_name="a", eval_model_name="b", dataset_name=name, **more)

    assert named("aime", problem_id=60).dataset_name == "aime24"
    assert named("aime", problem_id=60).problem_id == 0
    assert named("aime", aime_year=2025, problem_id=3).problem_id == 3
    assert named("math").dataset_name == "math500"
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
    knows = ScriptedLikely(lambda _: Written("7"), lambda *_: [], lambda _: {"7": 0.5, "1": 0.25})
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
    user = prompts.spec_reason_maths(question.problem)

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
