"""What every request passes before it is read: the key, the size of its body, whether the server is about to stop."""

import hmac
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ATTS.api.problems import Refused, TooLarge, Unavailable, WrongKey

MOST_BYTES = 16 * 2**20  # of a body
PROTECTED = "/v1/"


class Door:
    """ASGI middleware. ``key``: what requests to /v1 must carry as a bearer token; None: nothing."""

    def __init__(self, app: ASGIApp, key: str | None, stopping: Callable[[], bool]) -> None:
        self._app, self._stopping = app, stopping
        self._expected = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = MOST_BYTES

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large()
            return message

        try:
            self._check(scope)
            await self._app(scope, bounded, send)
        except Refused as problem:
            reply = JSONResponse(problem.body(), problem.status, {"Connection": "close"})
            await reply(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises Refused."""
        headers = dict(scope["headers"])
        protected, expected = scope["path"].startswith(PROTECTED), self._expected
        if protected and expected and not hmac.compare_digest(headers.get(b"authorization", b""), expected):
            raise WrongKey("the key is missing or wrong (Authorization: Bearer KEY)", code="invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MOST_BYTES:
            raise _too_large()
        if self._stopping() and protected:
            raise Unavailable("the server is about to stop")


def _too_large() -> TooLarge:
    return TooLarge(f"a body may have at most {MOST_BYTES} bytes")
