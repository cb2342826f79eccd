"""The same checks against a real SGLang server and against the emulated one: both pass."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from conftest import Pair, free_ports

from ATTS import demo
from ATTS.method.prompts import maths
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer

CONTEXT = 2048
TOKENIZER = str(demo.MODELS["target"])
QUESTION = "Ada has 50 pens.\nJanuary 10 bought.\nFebruary 20 sold.\nMarch 30 won.\nApril 15 found.\nHow many pens?"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def emulated() -> Iterator[str]:
    draft, target = free_ports(2)
    flags = ("--small_model_port", str(draft), "--eval_model_port", str(target), "--eval_model_name", "demo-target")
    slow = ("--speed", "1", "--eval_step_seconds", "0.01", "--context_length", str(CONTEXT))
    command = [sys.executable, "-m", "ATTS.emulate", *flags, *slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("target:"):
                break
        yield f"http://127.0.0.1:{target}"
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module", params=["emulated", pytest.param("real", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "emulated":
        return str(request.getfixturevalue("emulated"))
    pair: Pair = request.getfixturevalue("servers")
    return f"http://127.0.0.1:{pair.target_port}"


@pytest.fixture(scope="module")
def tokenizer() -> ModelTokenizer:
    return ModelTokenizer(TOKENIZER)


@pytest.fixture(scope="module")
def ids(tokenizer: ModelTokenizer) -> list[int]:
    return tokenizer.prompt(maths(QUESTION))


def ask(url: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and content of one page, or of the answer to ``body`` (bytes are sent as they are)."""

    async def send() -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            calling = session.get(url + path) if body is None else session.post(url + path, data=data, headers=headers)
            async with calling as response:
                text = await response.text()
                return response.status, json.loads(text) if text.startswith("{") else text

    return asyncio.run(send())


def generate(url: str, ids: list[int], max_new_tokens: int = 8, **more: Any) -> dict[str, Any]:
    sampling = {"max_new_tokens": max_new_tokens, "temperature": 0.8, **more.pop("sampling", {})}
    status, reply = ask(url, "/generate", {"input_ids": ids, "sampling_params": sampling, **more})
    assert status == 200, reply
    assert isinstance(reply, dict)
    return reply


def counters(url: str) -> dict[str, float]:
    """Values of the page of metrics, labels dropped, summed."""
    values: dict[str, float] = {}
    for line in str(ask(url, "/metrics")[1]).splitlines():
        if line.startswith("sglang:"):
            name, value = line.split("{")[0], float(line.split()[-1])
            values[name] = values.get(name, 0.0) + value
    return values


def test_its_pages_say_who_it_is(url: str) -> None:
    async def look() -> None:
        async with new_session(20) as session:
            info = await inspect(session, url, "target", "demo-target")
            assert info.context_length == CONTEXT
            assert info.version == "0.5.23"
            assert info.tokenizer_path == TOKENIZER

    asyncio.run(look())
    for page in ("/health", "/get_model_info", "/model_info", "/server_info", "/v1/models", "/metrics"):
        assert ask(url, page)[0] == 200, page


def test_a_continuation_has_ids_text_counts_and_a_reason(url: str, ids: list[int], tokenizer: ModelTokenizer) -> None:
    reply = generate(url, ids, 5, sampling={"ignore_eos": True})
    meta = reply["meta_info"]
    assert len(reply["output_ids"]) == meta["completion_tokens"] == 5
    assert meta["prompt_tokens"] == len(ids)
    assert meta["finish_reason"] == {"type": "length", "length": 5}
    assert tokenizer.decode(reply["output_ids"]) == reply["text"]


def test_the_likeliest_tokens_stand_beside_the_scores_of_a_prompt(url: str, ids: list[int]) -> None:
    start = len(ids) - 9
    reply = generate(url, ids, 0, return_logprob=True, logprob_start_len=start, top_logprobs_num=1)
    own, best = (reply["meta_info"][name] for name in ("input_token_logprobs", "input_top_logprobs"))
    assert len(own) == len(best) == 9
    assert best[0] is None
    for (there, token, _), likeliest in zip(own[1:], best[1:], strict=True):
        ((value, other, text),) = likeliest
        assert text is None
        assert value >= there
        assert (value == there) == (other == token)


def test_scores_start_with_an_empty_entry_and_name_their_tokens(url: str, ids: list[int]) -> None:
    for start in (0, 7, len(ids) - 1):
        reply = generate(url, ids, 0, return_logprob=True, logprob_start_len=start)
        entries = reply["meta_info"]["input_token_logprobs"]
        assert [entry[1] for entry in entries] == ids[start:]
        assert entries[0][0] is None
        assert all(entry[0] <= 0 for entry in entries[1:])
        assert reply["output_ids"] == []
    at_end = generate(url, ids, 0, return_logprob=True, logprob_start_len=len(ids))
    assert at_end["meta_info"]["input_token_logprobs"] == []


def test_a_known_beginning_is_cached_but_for_scoring_only_up_to_where_it_starts(url: str, ids: list[int]) -> None:
    generate(url, ids, 1)
    longer = [*ids, *ids[5:40]]
    assert generate(url, longer, 1)["meta_info"]["cached_tokens"] in (len(ids), len(ids) - 1)
    scored = generate(url, longer, 0, return_logprob=True, logprob_start_len=20)
    assert scored["meta_info"]["cached_tokens"] <= 20


def test_a_stop_text_ends_and_is_trimmed_unless_kept(url: str, ids: list[int]) -> None:
    digits = list("0123456789")
    for keep in (False, True):
        reply = generate(url, ids, 60, sampling={"stop": digits, "no_stop_trim": keep})
        finish = reply["meta_info"]["finish_reason"]
        assert finish["type"] == "stop"
        assert finish["matched"] in digits
        assert reply["text"].endswith(finish["matched"]) == keep
        assert not any(digit in reply["text"][:-1] for digit in digits)


@pytest.mark.parametrize(
    "body",
    [
        {"input_ids": [], "sampling_params": {}},
        {"sampling_params": {}},
        b"{not json",
        {"input_ids": [5], "sampling_params": {"no_such_parameter": 1}},
        {"input_ids": [5], "sampling_params": {"temperature": -1}},
        {"input_ids": [5] * CONTEXT, "sampling_params": {"max_new_tokens": 1}},
        {"input_ids": [5] * 100, "sampling_params": {"max_new_tokens": CONTEXT - 50}},
        {"input_ids": [5] * 10, "return_logprob": True, "logprob_start_len": 11, "sampling_params": {}},
    ],
    ids=["no ids", "no input", "not json", "parameter", "temperature", "prompt", "room", "start"],
)
def test_bad_input_is_refused_with_400(url: str, body: object) -> None:
    assert ask(url, "/generate", body)[0] == 400


def chat(url: str, messages: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    body = {"model": "any", "messages": messages, "max_tokens": 4, "temperature": 0.8, **more}
    status, reply = ask(url, "/v1/chat/completions", body)
    assert status == 200, reply
    assert isinstance(reply, dict)
    return reply


def test_a_chat_is_continued_only_when_asked_to(url: str, tokenizer: ModelTokenizer) -> None:
    user = {"role": "user", "content": maths(QUESTION)}
    begun = {"role": "assistant", "content": "January 10 bought, 50 + "}
    fresh = chat(url, [user])
    assert fresh["usage"]["prompt_tokens"] == len(tokenizer.template([user]))
    assert fresh["choices"][0]["message"]["role"] == "assistant"
    assert fresh["choices"][0]["finish_reason"] in ("length", "stop")
    continued = chat(url, [user, begun], continue_final_message=True)
    expected = len(tokenizer.template([user])) + len(tokenizer.encode(begun["content"]))
    assert continued["usage"]["prompt_tokens"] == expected
    restarted = chat(url, [user, begun])
    assert restarted["usage"]["prompt_tokens"] == len(tokenizer.template([user, begun]))
    assert ask(url, "/v1/chat/completions", {"model": "any", "max_tokens": 4})[0] == 400


def test_clients_that_leave_end_their_requests(url: str, ids: list[int]) -> None:
    """A real server looks for them every 4 s, and on a fast machine a single request may end before that."""
    clients = 16

    async def leave() -> None:
        async with aiohttp.ClientSession() as session:
            body = {"input_ids": ids, "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}}
            asking = [asyncio.create_task(session.post(f"{url}/generate", json=body)) for _ in range(clients)]
            await asyncio.sleep(1)
            for request in asking:
                request.cancel()

    before = counters(url).get("sglang:num_aborted_requests_total", 0.0)
    asyncio.run(leave())
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        now = counters(url)
        aborted = now.get("sglang:num_aborted_requests_total", 0.0) - before
        if now["sglang:num_running_reqs"] == 0 and aborted == clients:
            return
        time.sleep(0.3)
    pytest.fail(f"the requests go on: {now}")


def test_a_request_is_aborted_by_its_number(url: str, ids: list[int]) -> None:
    """It ends before it has all of its tokens, with what there is or without a reply."""

    async def abort() -> int:
        async with aiohttp.ClientSession() as session:
            sampling = {"max_new_tokens": 1500, "ignore_eos": True}
            body = {"input_ids": ids, "sampling_params": sampling, "rid": "the-one-to-abort"}
            asking = asyncio.create_task(session.post(f"{url}/generate", json=body))
            await asyncio.sleep(1)
            async with session.post(f"{url}/abort_request", json={"rid": "the-one-to-abort"}) as answer:
                assert answer.status == 200
            try:
                reply = await (await asking).json()
            except aiohttp.ClientError:
                return 0
            return int(reply.get("meta_info", {}).get("completion_tokens", 0))

    assert asyncio.run(abort()) < 1500
    limit = time.monotonic() + 30
    while counters(url)["sglang:num_running_reqs"]:
        assert time.monotonic() < limit, "the request goes on"
        time.sleep(0.3)


def test_its_counters_count(url: str, ids: list[int]) -> None:
    before = counters(url)
    generate(url, ids, 3, sampling={"ignore_eos": True})
    limit = time.monotonic() + 10  # a real server's counters lag a little
    while counters(url)["sglang:generation_tokens_total"] < before["sglang:generation_tokens_total"] + 3:
        assert time.monotonic() < limit
        time.sleep(0.2)
    after = counters(url)
    assert after["sglang:prompt_tokens_total"] - before["sglang:prompt_tokens_total"] == len(ids)
    assert after["sglang:num_requests_total"] - before["sglang:num_requests_total"] == 1
    assert {"sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:cached_tokens_total"} <= after.keys()
