"""What the server answers: the loop's texts, streamed or not, by vote, and what they cost."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_pair import CHUNK, PAIR, STEPS, ServedPair, array, served_pair

from ATTS.api.settings import ServeSettings
from ATTS.emulator import Ask, Fault, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.runs import rules
from ATTS.runs.evaluate import connected
from ATTS.runs.settings import AsyncSettings
from ATTS.store import certificate
from ATTS.store.array_file import BY_TURN
from ATTS.store.certificate import Certificate
from ATTS.store.records import Key
from ATTS.tasks.datasets import Question

QUESTIONS = [f"question <{number}>" for number in range(12)]
ASKED = [Question(number, question, "") for number, question in enumerate(QUESTIONS)]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return array(tmp_path_factory.mktemp("array"))


@pytest.fixture(scope="module")
def served(calibrated: Path) -> Iterator[ServedPair]:
    with served_pair(ppl_array_path=calibrated) as pair:
        yield pair


def content(reply: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in reply["choices"]]


def events(served: ServedPair, body: dict[str, Any], path: str = "chat/completions") -> list[dict[str, Any]]:
    """The events of a stream, which must end as the API says."""
    reply = served.post({**body, "stream": True}, path)
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def of_a_run(calibrated: Path, **flags: Any) -> list[str]:
    """The texts that ``ref_async`` makes of the questions, with servers that say the same."""

    async def run() -> list[str]:
        draft, target = (Server(Served(role=role, name=f"{role}-model", content=STEPS)) for role in ("draft", "target"))
        async with draft, target:
            urls = {"small_model_url": draft.url, "eval_model_url": target.url}
            chunks = {"small_model_max_tokens": CHUNK, "evalator_max_tokens": CHUNK}
            given = {"dataset_name": "amc23", "ppl_array_path": calibrated, **flags}
            settings = make(AsyncSettings, **PAIR, **urls, **chunks, **given)
            texts = []
            async with connected(settings, rules.make(settings, False, ASKED)) as method:
                for question in ASKED:
                    chain, ending = method.sample(Key(question, 0, 1))
                    await ending
                    texts.append(chain.text)
            return texts

    return asyncio.run(run())


@pytest.mark.parametrize("flags", [{}, {"on_rejection": "resample", "draft_attempts": 2}, {"use_chat_template": True}])
def test_a_text_is_the_one_that_a_run_makes_of_the_question_streamed_or_not(
    flags: dict[str, Any], calibrated: Path
) -> None:
    expected = of_a_run(calibrated, **flags)
    asked = [question.prompt for question in ASKED]
    assert len(set(expected)) > len(QUESTIONS) // 2
    with served_pair(ppl_array_path=calibrated, **flags) as served:
        assert [content(served.ask(one))[0] for one in asked] == expected
        for question, text in zip(asked, expected, strict=True):
            parts = events(served, {"messages": [{"role": "user", "content": question}]})
            assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts) == text
            assert [part["choices"][0]["finish_reason"] for part in parts][:-1] == [None] * (len(parts) - 1)


def test_turns_have_arrays_of_their_own(tmp_path: Path) -> None:
    """At turn 0 all chunks score below the array, at turn 1 above: the target continues the second chunk."""
    levels = [(turn, question, 10.0 if turn == 0 else 1.0) for turn in range(2) for question in range(100)]
    np.save(tmp_path / "array.npy", np.array(levels, BY_TURN))
    steps = Scripted(lambda ask: Written(f" {ask.role}", "length"), lambda ask, start: [-1.0] * (len(ask.ids) - start))
    flags = {"ppl_array_path": tmp_path / "array.npy", "calibration": "per_turn", "rejection_rate": 0.5, "turns": 2}
    with served_pair(steps, **flags) as served:
        assert content(served.ask("?")) == [" draft draft target"]


def test_a_chunk_is_sent_when_it_is_accepted_before_the_next_one_is_scored(calibrated: Path) -> None:
    """The target never answers its second scoring request; when the client leaves, nothing goes on."""
    steps = Scripted(lambda _: Written(" step", "length"), STEPS.scorer)
    hangs = {"faults": (Fault.parse("hang,at=1"),)}
    with served_pair(steps, target=hangs, ppl_array_path=calibrated, rejection_rate=0.0) as served:
        body = {"model": "atts", "messages": [{"role": "user", "content": "?"}], "stream": True}
        with served.http.stream("POST", f"{served.url}/v1/chat/completions", json=body) as reply:
            first = json.loads(next(reply.iter_lines()).removeprefix("data: "))
            assert first["choices"][0]["delta"] == {"role": "assistant", "content": " step"}
            assert served.pair.limits.samples.inside == 1
        served.idle()


def test_the_usage_tells_what_both_models_wrote_and_scored(calibrated: Path) -> None:
    flags = {"on_rejection": "resample", "rejection_rate": 0.6}
    body = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
    with served_pair(ppl_array_path=calibrated, **flags) as served:
        first, second = served.load(served.draft).written_tokens, served.load(served.target).written_tokens
        reply = served.post({**body, "n": 3, "samples": 2})
        usage = reply.json()["usage"]
        assert usage["draft_tokens"] == served.load(served.draft).written_tokens - first
        assert usage["target_tokens"] == served.load(served.target).written_tokens - second
        assert 0 < usage["scored_tokens"] <= usage["draft_tokens"]
        assert 0 < usage["discarded_tokens"] < usage["draft_tokens"]
        assert reply.headers["x-atts-rejected"] == str(usage["rejected_chunks"]) != "0"
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        alone = served.ask(QUESTIONS[0])["usage"]
        assert alone["completion_tokens"] == alone["draft_tokens"] + alone["target_tokens"] - alone["discarded_tokens"]
        streamed = events(served, {**body, "stream_options": {"include_usage": True}})
        assert streamed[-1]["usage"] == alone
        assert streamed[-1]["choices"] == []
        assert not any(part.get("usage") for part in streamed[:-1])
        written = served.load(served.target).written_tokens - second
        assert f'atts_tokens_total{{author="target"}} {written}' in page(served)
        served.until(lambda: 'atts_requests_total{path="/v1/chat/completions",status="200"} 3.0' in page(served))


def page(served: ServedPair) -> str:
    """Of metrics."""
    return served.http.get(f"{served.url}/metrics").text


def test_the_tokens_of_a_text_are_limited() -> None:
    def long(ask: Ask) -> Written:
        return Written(f" {ask.role} ends", "stop") if len(ask.text) > 1500 else Written("0123456789 " * 90)

    with served_pair(Scripted(long, STEPS.scorer), calibration="online") as served:
        (whole,) = content(served.ask("?"))
        for most in (1, CHUNK, CHUNK + 3, 4 * CHUNK):
            reply = served.ask("?", max_completion_tokens=most)
            assert reply["usage"]["completion_tokens"] == most
            assert reply["choices"][0]["finish_reason"] == "length"
            assert whole.startswith(content(reply)[0])
        assert served.ask("?", max_tokens=10**6)["choices"][0]["finish_reason"] == "length"  # the turns end it
    with served_pair(Scripted(long, STEPS.scorer), calibration="online", turns=100) as served:
        assert served.ask("?", max_tokens=10**6)["choices"][0]["finish_reason"] == "stop"


def test_a_text_ends_before_the_first_stop_string_streamed_or_not(served: ServedPair) -> None:
    for question in QUESTIONS[:6]:
        (whole,) = content(served.ask(question))
        for stop in (["ünd.\n t"], "d", ["so", ".\n d"], ["nothing that occurs"]):
            found = [at for at in map(whole.find, [stop] if isinstance(stop, str) else stop) if at >= 0]
            expected = whole[: min(found)] if found else whole
            reply = served.ask(question, stop=stop)
            assert content(reply) == [expected]
            parts = events(served, {"messages": [{"role": "user", "content": question}], "stop": stop})
            assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts) == expected


def test_texts_are_continued_one_for_each_prompt_and_choice(served: ServedPair) -> None:
    reply = served.post({"prompt": ["one", "two"], "n": 2}, "completions").json()
    texts = [choice["text"] for choice in reply["choices"]]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    parts = events(served, {"prompt": "one"}, "completions")
    assert "".join(part["choices"][0]["text"] for part in parts) == texts[0]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"


def test_turns_and_roles_of_a_conversation_reach_both_models(calibrated: Path) -> None:
    seen: dict[str, list[str]] = {"draft": [], "target": []}

    def remember(ask: Ask) -> Written:
        seen[ask.role].append(ask.text)
        return Written(" on", "length") if ask.role == "draft" else Written(" the end", "stop")

    content = Scripted(remember, STEPS.scorer)
    with served_pair(content, ppl_array_path=calibrated, rejection_rate=1.0) as served:
        talk = [
            *({"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}),
            {"role": "user", "content": [{"type": "text", "text": "th"}, {"type": "text", "text": "ree"}]},
        ]
        for first, system in (
            ([], "You are a math expert."),
            ([{"role": "developer", "content": "be brief"}], "be brief"),
        ):
            assert served.post({"messages": [*first, *talk]}).status_code == 200
            told = "<|user|>one<|end|><|assistant|>two<|end|><|user|>three<|end|><|assistant|>"
            assert seen["draft"].pop() == f"<|system|>{system}<|end|>{told}"
            assert seen["target"].pop() == (f"<|system|>{system}<|end|>" if first else "") + f"{told} on"


def answers_in_turn(*answers: str) -> Scripted:
    """A draft whose samples give these answers, in the order in which they are asked for."""
    left = list(answers)
    return Scripted(lambda _: Written(f"so \\boxed{{{left.pop(0)}}}", "stop"), STEPS.scorer)


def test_a_vote_counts_answers_that_mean_the_same_and_stops_when_it_is_decided() -> None:
    content = answers_in_turn("3", r"\frac{1}{2}", "0.5", "4", "1/2", "9", "9", "9")
    with served_pair(content, calibration="online", samples_in_flight=1) as served:
        reply = served.ask("?", samples=5)
        assert reply["choices"][0]["atts"] == {"answer": r"\frac{1}{2}", "status": "answered", "votes": 3, "samples": 5}
        assert reply["choices"][0]["message"]["content"] == r"so \boxed{\frac{1}{2}}"
        assert served.ask("?", samples=3)["choices"][0]["atts"]["samples"] == 2  # two of three are enough
        assert served.pair.limits.samples.inside == 0


def test_without_a_stop_rule_all_samples_are_run_and_the_first_of_equals_wins() -> None:
    with served_pair(
        answers_in_turn("7", "7", "1", "2", "2", "1"), calibration="online", samples_in_flight=1
    ) as served:
        assert served.ask("?", samples=3, stop_rule="none")["choices"][0]["atts"]["samples"] == 3
        assert served.ask("?", samples=3, stop_rule="none")["choices"][0]["atts"]["answer"] == "2"


def test_a_stop_rule_ends_a_vote_as_it_ends_a_question_of_a_run() -> None:
    """beta at 0.95: four votes to none are enough, three are not. The next sample begins before a vote is decided, so
    the draft may write more answers than are counted."""
    always = Scripted(lambda _: Written(r"so \boxed{7}", "stop"), STEPS.scorer)
    with served_pair(always, calibration="online", samples_in_flight=1) as served:
        assert served.ask("?", samples=16, stop_rule="beta")["choices"][0]["atts"]["samples"] == 4
        more = {"samples": 16, "stop_rule": "esc", "stop_threshold": 3}
        assert served.ask("?", **more)["choices"][0]["atts"] == {**DECIDED, "votes": 3, "samples": 3}


DECIDED = {"answer": "7", "status": "answered"}


def test_a_reasoning_effort_stands_for_rate_turns_and_samples() -> None:
    efforts = ("none:rate=0,turns=2", "most:rate=1", "vote:samples=3")
    content = Scripted(lambda _: Written(" step", "length"), STEPS.scorer)
    with served_pair(content, takeover="random", efforts=efforts, turns=5) as served:
        usage = {name: served.ask("?", reasoning_effort=name)["usage"] for name in ("none", "most", "vote")}
        assert (usage["none"]["scored_chunks"], usage["none"]["rejected_chunks"]) == (2, 0)
        assert (usage["most"]["scored_chunks"], usage["most"]["rejected_chunks"]) == (5, 5)
        assert usage["vote"]["scored_chunks"] == 15
        refused = served.post({"messages": [{"role": "user", "content": "?"}], "reasoning_effort": "high"})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == "reasoning_effort is one of none, most, vote here"


def test_a_certificate_decides_the_setting(tmp_path: Path) -> None:
    names = {"small_model_max_tokens": CHUNK, "evalator_max_tokens": CHUNK}
    setting = {**PAIR, **names, "takeover": "random", "rejection_rate": 1.0, "turns": 3, "kind": "random"}
    made = Certificate(0.05, 0.9, "", 0.0, 0.04, 0.1, 0.5, "tokens", 60, "ref_async", setting, {}, [], [])
    certificate.save(tmp_path / "c.json", made)
    content = Scripted(lambda _: Written(" step", "length"), STEPS.scorer)
    with served_pair(content, certificate=tmp_path / "c.json") as served:
        for effort in ("low", "medium"):
            usage = served.ask("?", reasoning_effort=effort)["usage"]
            assert (usage["scored_chunks"], usage["rejected_chunks"]) == (3, 3)
    with pytest.raises(ValueError, match="a certificate is for its own rate"):
        make(ServeSettings, **PAIR, certificate=tmp_path / "c.json", efforts=("low:turns=2",))


def test_temperature_top_p_and_seed_of_a_request_reach_the_servers() -> None:
    temperatures = []

    def remember(ask: Ask) -> Written:
        temperatures.append(ask.temperature)
        return Written(r"\boxed{1}", "stop")

    with served_pair(Scripted(remember, STEPS.scorer), calibration="online") as served:
        for more in ({}, {"temperature": 0}, {"temperature": 0.3, "top_p": 0.5, "seed": 7}):
            served.ask("?", **more)
    assert temperatures == [0.8, 0.0, 0.3]


def test_a_seed_decides_what_a_random_take_over_decides() -> None:
    content = Scripted(lambda ask: Written(f" {ask.role}", "length"), STEPS.scorer)
    with served_pair(content, takeover="random", turns=20) as served:
        texts = [[served.ask("?", seed=seed)["choices"][0]["message"]["content"] for _ in "ab"] for seed in (1, 2)]
    assert texts[0][0] == texts[0][1] != texts[1][0] == texts[1][1]
