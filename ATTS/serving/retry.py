"""Which failures are tried again, how often and how long apart. Each retry is logged k/n."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import tenacity

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def is_transient(status: int) -> bool:
    """408, 425, 429 and 5xx pass by themselves; any other 4xx is the request's own fault and stays."""
    return status in (408, 425, 429) or 500 <= status < 600


class Transient(Exception):
    """A failure that may pass: a busy or failing server, or a reply that is not what was asked for."""


class BadScore(Transient):
    """Log-probabilities that are not those of the tokens that were sent."""


class Stalled(Transient):
    """The server showed no sign of life for too long while requests waited for it."""


class Lost(Transient):
    """The server had gone before the request was sent."""


RETRIED = (Transient, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


async def call(attempt: Callable[[], Awaitable[Result]], retries: int, what: str) -> Result:
    """Up to ``retries`` more attempts after the first, 0.5 s to 8 s apart, with jitter."""
    try:
        return await attempt()  # outside tenacity, which costs as much as the rest of a request
    except RETRIED as error:
        failure: BaseException | None = error

    async def again() -> Result:
        nonlocal failure
        if failure is not None:
            first, failure = failure, None
            raise first
        return await attempt()

    policy = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(RETRIED),
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=8.0, jitter=0.5),
        before_sleep=_logger(retries, what),
        reraise=True,
    )
    return await policy(again)


def _logger(retries: int, what: str) -> Callable[[tenacity.RetryCallState], None]:
    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: %s; retry %d/%d", what, describe(error), state.attempt_number, retries)

    return before_sleep


def describe(error: BaseException | None) -> str:
    """One line for people; time-outs have no text of their own."""
    if isinstance(error, TimeoutError):
        return "no answer within the time limit"
    return str(error) or type(error).__name__
