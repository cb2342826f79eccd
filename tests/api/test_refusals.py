"""What the server refuses, and how it says so: fields, sizes, keys, a full queue. It answers the next request all the
same."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_pair import ONLINE, STEPS, ServedPair, served_pair

from ATTS.api.bodies import ChatBody
from ATTS.api.door import MOST_BYTES
from ATTS.emulator import Fault, Scripted, Timing, Written
from ATTS.errors import UserError

USER = [{"role": "user", "content": "?"}]
CONTEXT = 512


@pytest.fixture(scope="module")
def served() -> Iterator[ServedPair]:
    context = {"context_length": CONTEXT}
    with served_pair(draft=context, target=context, **ONLINE) as pair:
        yield pair


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logprobs": True}, "logprobs is not served: the text has two authors"),
    ({"top_logprobs": 5}, "top_logprobs is not served"),
    ({"logit_bias": {"1": 2}}, "logit_bias is not served: draft and target have vocabularies of their own"),
    ({"tools": [{"type": "function"}]}, "tools is not served: the loop writes text"),
    ({"tool_choice": "auto"}, "tool_choice is not served"),
    ({"response_format": {"type": "json_object"}}, "response_format is not served: no grammar"),
    ({"presence_penalty": 0.5}, "presence_penalty is not served"),
    ({"best_of": 4}, "best_of is not served: use samples and stop_rule"),
    ({"top_k": 4}, "top_k: there is no such field here"),
    ({"stop_rule": "es"}, "stop_rule: Input should be 'none', 'majority', 'beta', 'asc' or 'esc'"),
    ({"stop_rule": "beta", "stop_threshold": 0.3}, "stop_threshold of stop_rule beta must lie between 0.5 and 1"),
    ({"reasoning_effort": "extreme"}, "reasoning_effort is one of low, medium, high here"),
    ({"model": "other"}, "there is no model 'other' here, only 'atts'"),
    ({"model": None}, "model: Field required"),
    ({"messages": []}, "messages: List should have at least 1 item"),
    ({"messages": "?"}, "messages: Input should be a valid list"),
    ({"messages": [{"role": "tool", "content": "1"}]}, "messages.0.role: Input should be 'system'"),
    ({"messages": [*USER, {"role": "assistant", "content": "so"}]}, "the last message must be the user's"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "Input should be 'text'"),
    ({"n": 0}, "n: Input should be greater than or equal to 1"),
    ({"n": 100, "samples": 100}, "a request may have at most 256 samples"),
    ({"n": 100, "reasoning_effort": "high"}, "a request may have at most 256 samples"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
    ({"temperature": -1}, "temperature: Input should be greater than or equal to 0"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 0}, "top_p: Input should be greater than 0"),
    ({"stop": [""]}, "stop.0: String should have at least 1 character"),
    ({"stop": 7}, "stop: Input should be a valid tuple"),
    ({"seed": 2**70}, "seed"),
    ({"messages": [{"role": "user", "content": "x" * 32 * CONTEXT + "x"}]}, "doesn't fit the draft's context"),
    ({"messages": [{"role": "user", "content": "123 " * CONTEXT}]}, f"context of {CONTEXT} tokens: send less text"),
]


def send(served: ServedPair, body: bytes, path: str = "/v1/chat/completions") -> httpx.Response:
    return served.http.post(served.url + path, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_is_not_served_is_refused_by_name(more: dict[str, Any], message: str, served: ServedPair) -> None:
    body = json.dumps({"model": "atts", "messages": USER, **more})
    for streaming in (body, body.replace("{", '{"stream": true, ', 1)):
        reply = send(served, streaming.encode())
        assert reply.status_code == (404 if more.get("model") else 400)
        assert message in reply.json()["error"]["message"]


NOTHING: list[dict[str, Any]] = [
    *({"logprobs": False}, {"tools": []}, {"best_of": 1}, {"presence_penalty": 0}, {"user": "me"}),
    *({"response_format": {"type": "text"}}, {"stop": None}, {"tool_choice": "none"}),
]


@pytest.mark.parametrize("more", NOTHING, ids=str)
def test_a_field_that_asks_for_nothing_is_no_matter(more: dict[str, Any], served: ServedPair) -> None:
    assert served.post({"messages": USER, **more}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"", 400),
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[1]", 400),
        ("/v1/chat/completions", b'"\xff\xfe"', 400),
        ("/v1/completions", b'{"model": "atts", "prompt": ""}', 400),
        ("/v1/completions", b'{"model": "atts", "prompt": ["a", "b", "c"], "n": 128}', 400),
        ("/v1/completions", b'{"model": "atts", "prompt": [1, 2]}', 400),
        ("/v1/completions", b'{"model": "atts", "prompt": "a", "echo": true}', 400),
        ("/v1/completions", b'{"model": "atts", "prompt": "a", "logprobs": 0}', 400),
        ("/v1/embeddings", b"{}", 404),
    ],
)
def test_a_malformed_body_is_refused_in_the_form_of_the_api(
    path: str, body: bytes, status: int, served: ServedPair
) -> None:
    reply = send(served, body, path)
    assert reply.status_code == status
    assert reply.json()["error"]["type"] == "invalid_request_error"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({*ChatBody.model_fields, "logprobs", "tools", "response_format"} - {"n", "samples"})


@settings(max_examples=60)
@given(more=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_no_value_of_any_field_is_an_error_of_the_server(more: dict[str, Any], served: ServedPair) -> None:
    body = json.dumps({"model": "atts", "messages": USER, "max_tokens": 30, **more})
    reply = send(served, body.encode())
    assert reply.status_code in (200, 400, 404), reply.text
    assert reply.status_code == 200 or reply.json()["error"]["message"]


def test_a_body_that_is_no_json_by_its_header_is_told_so(served: ServedPair) -> None:
    """A page in a browser could send such a one to this machine unasked."""
    reply = served.http.post(f"{served.url}/v1/completions", content=b'{"model": "atts", "prompt": "a"}')
    assert reply.status_code == 400
    assert "Content-Type: application/json" in reply.json()["error"]["message"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(declared: bool, served: ServedPair) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 2**20 + 1):
            yield b" " * 2**20

    length = {"Content-Length": str(MOST_BYTES + 2**20)} if declared else {}
    reply = served.http.post(f"{served.url}/v1/completions", content=parts(), headers=length)
    assert reply.status_code == 413
    assert "at most" in reply.json()["error"]["message"]
    assert served.post({"messages": USER}).status_code == 200


def test_a_full_queue_says_when_to_come_again() -> None:
    slow = {"timing": Timing(step_seconds=0.005, prefill_tokens_per_second=1e9)}
    content = Scripted(lambda _: Written("0123456789" * 20), STEPS.scorer)
    with served_pair(content, draft=slow, max_queue=2, samples_in_flight=1, turns=2, **ONLINE) as served:
        large = served.post({"messages": USER, "n": 8})  # alone, it may be larger than the queue
        assert large.status_code == 200
        with served.http.stream(
            "POST",
            f"{served.url}/v1/chat/completions",
            json={"model": "atts", "messages": USER, "n": 3, "stream": True},
        ) as first:
            refused = served.post({"messages": USER})
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert refused.json()["error"]["type"] == "rate_limit_exceeded"
            assert first.read().endswith(b"[DONE]\n\n")
        served.until(lambda: served.post({"messages": USER}).status_code == 200)


def test_a_server_of_the_pair_that_fails_is_named_and_the_others_go_on() -> None:
    faults = {"faults": (Fault.parse("none,at=0"),)}
    content = Scripted(lambda _: Written(" on", "length"), STEPS.scorer)
    with served_pair(content, target=faults, turns=1, max_retries=0, **ONLINE) as served:
        failed = served.post({"messages": USER})
        assert failed.status_code == 502
        assert failed.json()["error"]["message"].startswith("score_failed: ")
        assert served.post({"messages": USER}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_that_breaks_off_says_why(stream: bool) -> None:
    faults = {"faults": (Fault.parse("none,at=1"),)}
    content = Scripted(lambda _: Written(" on", "length"), STEPS.scorer)
    with served_pair(content, target=faults, rejection_rate=0.0, max_retries=0, **ONLINE) as served:
        reply = served.post({"messages": USER, "stream": stream})
        if not stream:
            assert reply.status_code == 502
            return
        first, last = (json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line)
        assert first["choices"][0]["delta"]["content"] == " on"
        assert last["error"]["message"].startswith("score_failed: ")


def test_a_key_is_asked_for_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_KEY", "secret")
    with served_pair(api_key_env="OWN_KEY", **ONLINE) as served:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            reply = served.post({"messages": USER}, **headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
            assert "secret" not in reply.text
        assert served.post({"messages": USER}, Authorization="Bearer secret").status_code == 200
        assert served.http.get(f"{served.url}/health").json() == {"status": "ok"}
    monkeypatch.delenv("OWN_KEY")
    with pytest.raises(UserError, match="OWN_KEY is not set"), served_pair(api_key_env="OWN_KEY", **ONLINE):
        pass


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --ppl_array_path or --certificate, or use --calibration online"),
        ({"calibration": "grouped"}, "--calibration grouped is for data sets"),
        ({**ONLINE, "efforts": ("high:turns=many",)}, "must be like high:rate=0.6"),
        ({**ONLINE, "efforts": ("high:rate=2",)}, "a rate lies in"),
        ({**ONLINE, "efforts": ("high:turns=0",)}, "at least one turn"),
        ({**ONLINE, "compat": "published"}, "--compat published"),
        ({**ONLINE, "schedule": "question"}, "--schedule question is for data sets"),
        ({**ONLINE, "extract_mode": "llm"}, "--extract_mode llm is for data sets"),
    ],
)
def test_flags_that_make_no_server_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")), served_pair(**flags):
        pass


def test_a_server_for_other_machines_wants_a_key() -> None:
    with pytest.raises(UserError, match="lets other machines in"), served_pair(host="0.0.0.0", **ONLINE):  # noqa: S104
        pass


def test_a_pair_that_is_gone_shows_in_its_health() -> None:
    with served_pair(max_retries=0, **ONLINE) as served:
        assert served.http.get(f"{served.url}/health").status_code == 200
        asyncio.run_coroutine_threadsafe(served.draft.__aexit__(), served.loop).result()
        reply = served.http.get(f"{served.url}/health")
        assert reply.status_code == 503
        assert reply.json()["missing"] == [f"the draft server at {served.draft.url}"]
        assert served.post({"messages": USER}).status_code == 503
