"""The command: from its start to its orderly stop; on the real pair."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import openai
import pytest
from conftest import Pair, door
from served_pair import CHUNK, PAIR

from ATTS.emulator import Scripted, Served, Server, Timing, Written
from ATTS.tasks import datasets

STEP = Scripted(lambda _: Written("0123456789" * 20), lambda ask, start: [-0.5] * len(ask.ids[start:]))


def test_a_server_that_is_stopped_finishes_what_is_under_way(tmp_path: Path) -> None:
    """It is told to stop when its client has the first chunk; the client gets them all."""
    slow = Timing(step_seconds=0.01, prefill_tokens_per_second=1e9)

    async def main() -> tuple[list[str], str, int | None]:
        draft = Server(Served(role="draft", name=PAIR["small_model_name"], content=STEP, timing=slow))
        target = Server(Served(role="target", name=PAIR["eval_model_name"], content=STEP))
        async with draft, target:
            flags = ["--small_model_url", draft.url, "--eval_model_url", target.url, "--calibration", "online"]
            names = [word for name, value in PAIR.items() for word in (f"--{name}", value)]
            length = ["--small_model_max_tokens", str(CHUNK), "--turns", "4", "--rejection_rate", "0", "--port", "0"]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ATTS.serve", *names, *flags, *length),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert process.stdout is not None
            said = (await process.stdout.readline()).decode()
            url = said.split()[0]
            async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
                asked = {"model": "atts", "messages": [{"role": "user", "content": "?"}]}
                stream = await client.chat.completions.create(**asked, stream=True)
                parts = []
                async for part in stream:
                    if not parts:
                        process.send_signal(signal.SIGTERM)
                    parts.append(part.choices[0].delta.content or "")
                rest = (await process.stdout.read()).decode()
                await process.wait()
                with pytest.raises(openai.APIConnectionError):
                    await client.models.list()
            return parts, rest, process.returncode

    parts, rest, status = asyncio.run(main())
    assert len("".join(parts)) == 4 * CHUNK
    assert (rest, status) == ("stopped\n", 0)


def test_an_address_that_is_taken_is_an_error_for_people(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        names = [word for name, value in PAIR.items() for word in (f"--{name}", value)]
        done = door("serve", *names, "--calibration", "online", "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: --host 127.0.0.1 --port {port}: Address already in use; choose another\n"


@pytest.mark.servers
def test_the_real_pair_answers_its_problems_over_the_api(servers: Pair, tmp_path: Path) -> None:
    """Each by a vote of three samples, all problems at once."""
    flags = [*servers.flags, "--small_model_max_tokens", "24", "--evalator_max_tokens", "24", "--turns", "20"]
    questions = datasets.load("demo", max_problems=8)

    async def main() -> list[str | None]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ATTS.serve", *flags, "--calibration", "online", "--on_rejection", "resample"),
            *("--use_chat_template", "--port", "0"),
            cwd=tmp_path,
            env=os.environ,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[0]
        try:
            async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

                async def ask(prompt: str) -> str | None:
                    messages = [{"role": "user", "content": prompt}]
                    reply = await client.chat.completions.create(
                        model="atts", messages=messages, seed=1, top_p=0.99, extra_body={"samples": 3}
                    )
                    return reply.choices[0].model_extra["atts"]["answer"]

                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(ask(question.prompt)) for question in questions]
            async with httpx.AsyncClient() as client:
                health = await client.get(url.replace("/v1", "/health"))
                assert json.loads(health.text) == {"status": "ok"}
            return [task.result() for task in tasks]
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()

    answers = asyncio.run(main())
    right = sum(answer == question.answer for answer, question in zip(answers, questions, strict=True))
    assert right >= 6, answers  # the pair is right 98 times of 100; one sample of the draft alone 50
