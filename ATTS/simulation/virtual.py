"""An event loop whose clock jumps to the next thing to do: hours of waiting take no time at all."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Result = TypeVar("Result")
Given = ParamSpec("Given")


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the time it was to wait for is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: all tasks wait, and none for the clock")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For coroutines that wait for nothing but each other and the clock: threads and sockets would
    take real time, of which this clock knows nothing."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        # Times that differ by rounding only are one time.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._jump.now


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def timeless(main: Callable[Given, Coroutine[Any, Any, Result]]) -> Callable[Given, Result]:
    """The function that does what the coroutine function ``main`` does, in virtual time."""

    @functools.wraps(main)
    def called(*args: Given.args, **more: Given.kwargs) -> Result:
        return run(main(*args, **more))

    return called
