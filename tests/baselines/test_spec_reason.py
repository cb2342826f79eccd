"""SpecReason's step protocol, over an emulated SGLang server and over one that speaks only the OpenAI API."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from chances import NO_DIGESTS
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, openai_only, sglang

from ATTS import demo
from ATTS.baselines.prompts import SPEC_REASON_JUDGE, SPEC_REASON_SCORE, THINK, spec_reason_maths
from ATTS.baselines.spec_reason.loop import Grade, Reasoning, Rules, Speaker, spec_reason
from ATTS.baselines.spec_reason.speakers import OpenAISpeaker, SGLangSpeaker
from ATTS.errors import ExitStatus, ScoreFailed, ServerFailed
from ATTS.method.types import Stage, Usage
from ATTS.serving.client import SGLangModel, inspect_openai
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store.records import Key, record
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

TOKENIZER = ModelTokenizer(str(demo.MODELS["target"]))
USER = spec_reason_maths("1 + 1?")
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
    told = record(Key(Question(0, "1 + 1?", "2"), 0, 1), chain, status, None, 1.0, NO_DIGESTS)
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
