"""Errors that a client is told, in the form of the OpenAI API."""

from typing import Any

from starlette.exceptions import HTTPException


class Refused(HTTPException):
    """A request that gets an error instead of an answer. ``param``: the field at fault."""

    status, kind = 500, "server_error"

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(self.status, message, headers)
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        """As the API's clients read it."""
        return {"error": {"message": self.detail, "type": self.kind, "param": self.param, "code": self.code}}


class BadRequest(Refused):
    """The request asks for what can't be done."""

    status, kind = 400, "invalid_request_error"


class WrongKey(Refused):
    """The request has no key, or another."""

    status, kind = 401, "invalid_request_error"


class NotFound(Refused):
    """There is no such model or page."""

    status, kind = 404, "invalid_request_error"


class TooLarge(Refused):
    """The request's body is too large."""

    status, kind = 413, "invalid_request_error"


class Busy(Refused):
    """The queue is full; ``seconds``: when to come again."""

    status, kind = 429, "rate_limit_exceeded"

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message, headers={"Retry-After": str(seconds)})


class PairFailed(Refused):
    """A server of the pair failed for good."""

    status = 502


class Unavailable(Refused):
    """A server of the pair is gone, or this one is about to stop."""

    status = 503
