"""Models behind an OpenAI-compatible endpoint, asked over HTTP: as judges and as readers of answers."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from openai_server import KEY, Endpoint, Reply, serve

from ATTS.errors import UserError
from ATTS.store.replies import ReplyCache
from ATTS.tasks import llm
from ATTS.tasks.equivalence import Verdict
from ATTS.tasks.judge import LLMJudge
from ATTS.tasks.thoughts import without_thoughts

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
        asked = llm.Endpoint(
            "--judge llm", endpoint.environment, retries=retries, timeout=timeout, cache=ReplyCache(cache)
        )
        judge = LLMJudge(asked)
        async with asked:
            return [await judge.matches("1 + 1?", "2", answer) for answer in answers], judge

    return asyncio.run(run())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_not_noticed(fault: str) -> None:
    with serve(lambda _, before: FAULTS[fault] if before == 0 else "Match") as endpoint:
        verdicts, judge = judged(endpoint, "two", timeout=2 if fault == "time-out" else 30)
    assert verdicts == [Verdict.EQUAL]
    assert len(endpoint.asked) == 2
    assert (judge.endpoint.cost["requests"], judge.endpoint.cost["failed"]) == (1, 0)
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
    assert judge.endpoint.cost["failed"] == 1
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


THOUGHT = "Okay, so the answer is two, a <b> tag means nothing and neither does Mismatch."


@pytest.mark.parametrize(
    ("reply", "text", "thought"),
    [
        (f"<think>\n{THOUGHT}\n</think>\n\nMatch", "Match", True),
        (f"{THOUGHT}\n</think>\n\nMatch", "Match", True),  # the template opened it
        (f"<think>{THOUGHT}", "", True),  # cut off
        (f"<think>{THOUGHT}</think>", "", True),
        (f"<think></think><think>{THOUGHT}</think>Match", "Match", True),
        (f"<THINKING>{THOUGHT}</THINKING> Match", "Match", True),
        (f"[THINK]{THOUGHT}[/THINK]Match", "Match", True),
        (f"\u25c1think\u25b7{THOUGHT}\u25c1/think\u25b7Match", "Match", True),
        (
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>Match",
            "Match",
            True,
        ),
        (f"<|channel|>analysis<|message|>{THOUGHT}", "", True),
        (r"\frac{1}{2} < x", r"\frac{1}{2} < x", False),
        ("I think it is 5", "I think it is 5", False),
        ("", "", False),
    ],
)
def test_thoughts_are_taken_out_of_a_reply(reply: str, text: str, thought: bool) -> None:
    assert without_thoughts(reply) == (text, thought)


@pytest.mark.parametrize("layout", ["marked", "opened by the template", "told apart", "marked, and the end not told"])
@pytest.mark.parametrize("needed", [300, 20_000])
def test_a_model_that_thinks_gets_room_for_it_and_its_thoughts_are_no_reply(
    layout: str, needed: int, tmp_path: Path
) -> None:
    def reply(_message: str, _: int) -> Reply:
        if endpoint.bodies[-1]["max_tokens"] < needed:
            cut = "Okay, so I" if layout == "opened by the template" else "<think>Okay, so I"
            if layout == "told apart":
                return "thoughts", "Okay"
            return "cut" if layout != "marked, and the end not told" else "text", cut
        return "text", f"<think>{THOUGHT}</think>\n\nMatch" if layout.startswith(
            "marked"
        ) else f"{THOUGHT}</think>Match"

    with serve(reply) as endpoint:
        verdicts, judge = judged(endpoint, "two", "2.0", cache=tmp_path / "replies")
        assert verdicts == [Verdict.EQUAL] * 2
        assert judge.unreadable == 0
        limits = [body["max_tokens"] for body in endpoint.bodies]
        assert limits == ([10, 4096, 4096] if needed < 4096 else [10, 4096, 32768, 32768])  # learnt once
        verdicts, judge = judged(endpoint, "two", "2.0", cache=tmp_path / "replies")
        assert (verdicts, judge.endpoint.cost["cached"]) == ([Verdict.EQUAL] * 2, 2)
    assert "Okay" not in (tmp_path / "replies").read_text()


def test_a_model_with_less_room_than_thoughts_need_is_taken_at_its_word(tmp_path: Path) -> None:
    def reply(_message: str, _: int) -> Reply:
        asked = endpoint.bodies[-1]["max_tokens"]
        if asked > 4096:
            return "refuse", f"this model's maximum context length is 8192 tokens, you asked for {asked}"
        return "cut", "<think>Okay"

    with serve(reply) as endpoint:
        verdicts, judge = judged(endpoint, "two", cache=tmp_path / "replies")
    assert (verdicts, judge.unreadable) == ([Verdict.UNDECIDED], 1)
    assert not (tmp_path / "replies").exists()


REFUSALS = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'",
    "temperature": "Unsupported value: 'temperature' does not support 0 with this model. Only the default is.",
    "system": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "repetition_penalty": "Unrecognized request argument supplied: repetition_penalty",
}


@pytest.mark.parametrize("refused", [*[(one,) for one in REFUSALS], tuple(REFUSALS)])
def test_a_parameter_that_the_endpoint_refuses_is_left_out_or_replaced(refused: tuple[str, ...]) -> None:
    def reply(_message: str, _: int) -> Reply:
        body = endpoint.bodies[-1]
        roles = [message["role"] for message in body["messages"]]
        for name in refused:
            if name in body or name in roles:
                return "refuse", REFUSALS[name]
        return "Match"

    with serve(reply) as endpoint:
        verdicts, judge = judged(endpoint, "two", "2.0")
        assert len(endpoint.bodies) == len(refused) + 2
    assert verdicts == [Verdict.EQUAL] * 2
    assert judge.endpoint.cost["failed"] == 0
    last = endpoint.bodies[-1]
    assert last.get("max_completion_tokens" if "max_tokens" in refused else "max_tokens") == 10
    assert "mathematics expert" in last["messages"][0]["content"]
    assert last.get("repetition_penalty") == (None if "repetition_penalty" in refused else 1.0)


def test_an_endpoint_that_takes_no_limit_at_all_is_asked_without() -> None:
    def reply(_message: str, _: int) -> Reply:
        limit = endpoint.bodies[-1].keys() & {"max_tokens", "max_completion_tokens"}
        return ("refuse", f"Extra inputs are not permitted: {limit.pop()}") if limit else "Match"

    with serve(reply) as endpoint:
        assert judged(endpoint, "two")[0] == [Verdict.EQUAL]


def test_replies_that_can_not_be_read_are_not_kept_and_earlier_ones_are_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "replies"
    with serve(lambda *_: "Well, it depends") as endpoint:
        assert judged(endpoint, "two", cache=path)[0] == [Verdict.UNDECIDED]
    assert not path.exists()
    with serve(lambda *_: "Match") as endpoint:
        judged(endpoint, "two", cache=path)
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "reply": "<think>Okay, so"}) + "\n")  # as it was kept once
    with serve(lambda *_: "Mismatch") as endpoint:
        assert judged(endpoint, "two", cache=path)[0] == [Verdict.DIFFERENT]
        assert judged(endpoint, "two", cache=path)[0] == [Verdict.DIFFERENT]
        assert len(endpoint.asked) == 1


def test_half_a_character_in_an_answer_or_a_reply_is_a_question_mark(tmp_path: Path) -> None:
    with serve(lambda *_: "Match \ud800") as endpoint:
        verdicts, _ = judged(endpoint, "2 \udfff", cache=tmp_path / "replies")
    assert verdicts == [Verdict.EQUAL]  # a question mark is punctuation
    assert "2 ?" in endpoint.asked[0][0]
