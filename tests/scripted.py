"""Scripted texts for the baselines, said by an emulated SGLang server or by one that knows the OpenAI API only."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ATTS.baselines.prompts import SPEC_REASON_SCORE
from ATTS.baselines.spec_reason.loop import BREAK
from ATTS.emulator import Ask, Scripted, Served, Server, Written


@dataclass
class Script:
    """Texts in the order they are asked for: "x$" ends the text, "x~" is cut by the token limit, anything
    else goes on to the limit or a stop string. ``grades``: probabilities of the next token, by its text."""

    texts: list[str] = field(default_factory=list)
    grades: list[Mapping[str, float]] = field(default_factory=list)
    asks: list[tuple[str, int]] = field(default_factory=list)  # prompts and token limits, without grades
    graded: list[str] = field(default_factory=list)  # prompts
    told: Mapping[str, float] = field(default_factory=dict)  # the newest grade

    def next(self, prompt: str, limit: int) -> Written:
        self.asks.append((prompt, limit))
        text = self.texts.pop(0)
        if text.endswith("$"):
            return Written(text[:-1], "stop")
        return Written(text.removesuffix("~"), "length")

    def grade(self, prompt: str) -> Mapping[str, float]:
        self.graded.append(prompt)
        return self.grades.pop(0)

    def served(self, role: str, **more: Any) -> Served:
        """As an emulated SGLang server."""

        def write(ask: Ask) -> Written:
            if ask.text.endswith(SPEC_REASON_SCORE):  # its probabilities were asked for just before
                told = self.told
                return Written(max(told, key=lambda token: told[token]), "length")
            return self.next(ask.text, ask.max_new_tokens)

        def likely(ask: Ask) -> Mapping[str, float]:
            self.told = self.grade(ask.text)
            return self.told

        def unscored(ask: Ask, start: int) -> list[float | None]:  # noqa: ARG001
            raise LookupError("nobody asks for perplexities here")

        return Served(role=role, name=f"{role}-model", content=Scripted(write, unscored, likely), **more)


@asynccontextmanager
async def sglang(role: str, script: Script, **more: Any) -> AsyncIterator[str]:
    async with Server(script.served(role, **more)) as server:
        yield server.url


@asynccontextmanager
async def openai_only(role: str, script: Script, key: str = "", context: int = 10**6) -> AsyncIterator[str]:
    """Chat completions and the list of models, and nothing else, as vLLM answers them."""

    async def models(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.json_response({"object": "list", "data": [{"id": f"{role}-model", "object": "model"}]})

    async def chat(request: web.Request) -> web.Response:
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        body = await request.json()
        messages = body["messages"]
        going_on = messages[-1]["role"] == "assistant"
        if going_on != body["continue_final_message"] or going_on == body["add_generation_prompt"]:
            return web.json_response({"error": {"message": "what is to go on?"}}, status=400)
        if any(body.get(name) is None for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")):
            return web.json_response({"error": {"message": "the model's own defaults would be taken"}}, status=400)
        prompt = "".join(f"<|{m['role']}|>{m['content']}" for m in messages)
        if len(prompt) > context:
            message = f"This model's maximum context length is {context} tokens"
            return web.json_response({"error": {"message": message}}, status=400)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "stop_reason": None, "finish_reason": "stop"}
        if prompt.endswith(SPEC_REASON_SCORE):
            told = script.grade(prompt)
            likeliest = sorted(told, key=lambda token: -told[token])[: body["top_logprobs"]]
            top = [{"token": token, "logprob": math.log(told[token])} for token in likeliest]
            position = [{**top[0], "top_logprobs": top}] if top else []
            choice |= {"finish_reason": "length", "logprobs": {"content": position}}
            text = "".join(likeliest[:1])
        else:
            written = script.next(prompt, body["max_tokens"])
            text, stop, _ = written.text.partition(BREAK)
            if stop:
                choice["stop_reason"] = BREAK
            elif written.finish == "length":
                choice["finish_reason"] = "length"
        choice["message"] = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text.split()) + 1}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    app = web.Application(client_max_size=2**24)
    app.router.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
