"""The clients that people have: openai (sync, async, streaming), curl, lm_eval; many at once, and those that leave."""

import asyncio
import importlib.util
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import ROOT
from served_pair import STEPS, ServedPair, array, served_pair

from ATTS.api import app
from ATTS.emulator import Scripted, Timing, Written

PAGE = ROOT / "docs" / "SERVE.md"
LM_EVAL = os.environ.get("LM_EVAL_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPair]:
    fixed = {"small_model_concurrency": 16, "eval_model_concurrency": 16, "samples_in_flight": 24}
    with served_pair(ppl_array_path=array(tmp_path_factory.mktemp("array")), **fixed) as pair:
        yield pair


def test_the_openai_client_streams_what_it_gets_whole(served: ServedPair) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["atts"]
        asked = {"model": "atts", "messages": [{"role": "user", "content": "a question"}], "n": 2}
        whole = client.chat.completions.create(**asked, extra_body={"samples": 3, "stop_rule": "majority"})
        assert whole.usage.model_extra["draft_tokens"] > 0
        assert whole.choices[0].model_extra["atts"]["samples"] <= 3
        stream = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        texts = ["", ""]
        for part in stream:
            for choice in part.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == [choice.message.content for choice in whole.choices]
        assert part.usage.model_extra["rejected_chunks"] >= 0
        text = client.completions.create(model="atts", prompt="a text").choices[0].text
        assert text == "".join(
            p.choices[0].text for p in client.completions.create(model="atts", prompt="a text", stream=True)
        )


def test_256_clients_at_once_get_what_each_would_get_alone(served: ServedPair) -> None:
    questions = [f"question {number % 64}" for number in range(256)]
    alone = {question: served.ask(question)["choices"][0]["message"]["content"] for question in questions[:64]}

    async def main() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:

            async def ask(question: str) -> str | None:
                messages = [{"role": "user", "content": question}]
                reply = await client.chat.completions.create(model="atts", messages=messages)
                return reply.choices[0].message.content

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(question)) for question in questions]
            return [task.result() for task in tasks]

    assert asyncio.run(main()) == [alone[question] for question in questions]
    samples = served.pair.limits.samples
    assert samples.most_inside == 24  # as many as may, and no more
    assert all(0 < server.gate.most_inside <= 16 for server in served.pair.limits.servers)
    assert (samples.inside, samples.waiting) == (0, 0)


def snippet(beginning: str, url: str) -> str:
    """The lines of the page that begin so, for a server at ``url``."""
    lines = textwrap.dedent(PAGE.read_text()).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"    {beginning}"))
    own = itertools.takewhile(lambda line: line.startswith("    "), lines[first:])
    return textwrap.dedent("\n".join(own)).replace("http://127.0.0.1:8400", url)


def test_the_page_s_python_prints_the_text_and_what_it_cost(served: ServedPair) -> None:
    said = subprocess.run([sys.executable, "-c", snippet("import openai", served.url)], capture_output=True, check=True)
    reply = served.ask("What is 6 times 7?")
    tokens = reply["usage"]["draft_tokens"], reply["usage"]["target_tokens"]
    assert said.stdout.decode().split() == [*reply["choices"][0]["message"]["content"].split(), *map(str, tokens)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page_s_curl_gets_the_text(served: ServedPair) -> None:
    said = subprocess.run(["bash", "-c", snippet("curl", served.url)], capture_output=True, check=True).stdout
    assert json.loads(said)["choices"] == served.ask("What is 6 times 7?", max_tokens=200)["choices"]


def knows_lm_eval() -> bool:
    if sys.executable == LM_EVAL:
        return importlib.util.find_spec("lm_eval") is not None
    return Path(LM_EVAL).is_file()


TASK = """\
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: 256}}
filter_list:
  - name: box
    filter:
      - {{function: regex, regex_pattern: 'boxed.(\\d+)'}}
      - {{function: take_first}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.mark.skipif(not knows_lm_eval(), reason="lm_eval[api] is not installed (LM_EVAL_PYTHON names a Python with it)")
def test_lm_eval_measures_the_pair(tmp_path: Path) -> None:
    """Its chat model on a task of ours: the pair answers three of four questions."""

    def answer(ask: object) -> Written:
        return Written(f"so \\boxed{{{ask.text.split('?')[1][0]}}}", "stop")  # type: ignore[attr-defined]

    rows = [{"question": f"What is it?{number} Tell.", "answer": str(min(number, 2))} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sums.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"))
    with served_pair(Scripted(answer, STEPS.scorer), calibration="online") as served:
        ours = f"--tasks sums --include_path {tmp_path} --output_path {tmp_path / 'out'}"
        command = snippet("OPENAI_API_KEY=none lm_eval", served.url).replace("--tasks gsm8k", ours)
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
        command = command.replace("lm_eval", f"{LM_EVAL} -m lm_eval", 1)
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    (report,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(report.read_text())["results"]["sums"]["exact_match,box"] == 0.75


def ask_raw(served: ServedPair, **body: object) -> socket.socket:
    """A connection on which a request was sent; nothing reads the answer."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    data = json.dumps({"model": "atts", "messages": [{"role": "user", "content": "?"}], **body}).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json"]
    connection.sendall("\r\n".join([*head, f"Content-Length: {len(data)}", "", ""]).encode() + data)
    return connection


LONG = Scripted(lambda _: Written("0123456789" * 300), STEPS.scorer)
SLOW = {"timing": Timing(step_seconds=0.5, prefill_tokens_per_second=1e9)}  # a chunk takes 12 s


@pytest.mark.parametrize("body", [{}, {"stream": True}, {"samples": 5, "n": 2}])
def test_what_clients_that_leave_have_asked_for_is_given_up(body: dict[str, object]) -> None:
    with served_pair(LONG, draft=SLOW, calibration="online") as served:
        connection = ask_raw(served, **body)
        served.until(lambda: served.load(served.draft).running > 0)
        connection.close()
        served.idle()
        counted = 'atts_requests_total{path="/v1/chat/completions",status="499"} 1.0'
        served.until(lambda: counted in served.http.get(f"{served.url}/metrics").text)


def test_a_client_that_never_reads_holds_up_nobody() -> None:
    """Its texts are written to the end although nothing can be sent, and the one place goes to the next client."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": BODY, "more_body": False}]
    with served_pair(calibration="online", samples_in_flight=1) as served:

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()  # as uvicorn's, once what sockets hold is full

        application = app.make(served.pair, None, lambda: False)
        left = asyncio.run_coroutine_threadsafe(application(SCOPE, receive, send), served.loop)
        served.until(lambda: served.pair.limits.samples.left == 5)
        assert not left.done()
        assert served.ask("?", max_tokens=10)["usage"]["completion_tokens"] > 0
        left.cancel()
        served.idle()


BODY = json.dumps({"model": "atts", "messages": [{"role": "user", "content": "?"}], "n": 5, "stream": True}).encode()
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"content-type", b"application/json")],
    "scheme": "http",
    "server": ("x", 1),
    "client": ("x", 2),
}
