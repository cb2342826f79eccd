"""A real HTTP server that misbehaves on purpose, in the place of an SGLang server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Reply = Callable[[int, dict[str, Any]], web.StreamResponse | Awaitable[web.StreamResponse] | None]


@asynccontextmanager
async def serving(
    reply: Reply, pages: Mapping[str, web.Response | Callable[[], web.Response]] | None = None
) -> AsyncIterator[str]:
    """A server whose /generate gives ``reply(how many requests came before, body)``."""
    count = 0

    async def generate(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        answer = reply(count - 1, await request.json())
        if answer is None:  # half an answer, then the connection breaks
            half = web.StreamResponse(headers={"Content-Length": "1000"})
            await half.prepare(request)
            await half.write(b'{"text"')
            assert request.transport is not None
            request.transport.close()
            return half
        return answer if isinstance(answer, web.StreamResponse) else await answer

    async def page(request: web.Request) -> web.Response:
        if pages is None or request.path not in pages:
            return web.json_response({"model_path": "m"}) if pages is None else web.Response(status=404)
        page = pages[request.path]
        return page() if callable(page) else page

    app = web.Application()
    app.router.add_post("/generate", generate)
    app.router.add_get("/{any:.*}", page)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
