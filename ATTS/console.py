"""What all front doors share: progress, errors for people, Ctrl-C."""

import asyncio
import errno
import gc
import io
import logging
import math
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

from ATTS.errors import UserError
from ATTS.flags import Settings, parse

BAD_INPUT, INTERRUPTED, UNREAD = 2, 130, 141
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# Set when the command is to end, for work that no cancellation reaches: threads, and what holds the event loop.
STOPPING: ContextVar[threading.Event | None] = ContextVar("stopping", default=None)
# Control characters but tab and line feed, and what turns the direction of a text or breaks its line.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def run(settings: type[Settings], description: str | None, command: Callable[[Settings], Awaitable[object]]) -> None:
    """Parses, runs ``command`` and ends the process: 0, 2 for a UserError, 130 when interrupted."""
    heed_interrupts()
    print_anything()
    warnings = Once()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", handlers=[warnings])

    async def main(chosen: Settings) -> object:
        with _interruptible():
            return await command(chosen)

    try:
        chosen = parse(settings, description)
        relieve_collector()
        with asyncio.Runner(loop_factory=event_loop) as runner:
            result = runner.run(main(chosen))
        warnings.close()
        show(result)
    except UserError as problem:
        warnings.close()
        sys.exit(fail(problem))
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    except OSError as error:
        sys.exit(fail(UserError(unwritable(error))))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(KEPT, file=sys.stderr)
        sys.exit(INTERRUPTED)


KEPT = "interrupted; what is finished is kept. Rerun the same command to resume"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the task that is in the block; once more, and the process ends at once."""
    task, loop, stopping = asyncio.current_task(), asyncio.get_running_loop(), threading.Event()
    assert task is not None
    STOPPING.set(stopping)

    def interrupt(*_: object) -> None:
        if stopping.is_set():
            os.write(sys.stderr.fileno(), f"{KEPT}\n".encode())
            os._exit(INTERRUPTED)
        stopping.set()
        loop.call_soon_threadsafe(task.cancel)

    both = (signal.SIGINT, signal.SIGTERM)
    heeded = [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        if not stopping.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)


def heed_interrupts() -> None:
    """Ctrl-C raises KeyboardInterrupt from here on (ATTS/__init__.py), unless the shell has it ignored, as for a
    command in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def unwritable(error: OSError) -> str:
    """What to say of a file that can't be read or written."""
    told = f"{error.filename or 'the output'} can't be read or written: {error.strerror or error}"
    if error.errno in NO_ROOM:
        told += "; what is finished is kept. Make room and rerun the same command to resume"
    return told


def printable(text: object) -> str:
    """A text as it may reach a terminal: control characters, which models and data sets can write, are spelled out."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def show(text: object) -> None:
    """A command's result, on its output."""
    print(printable(text), flush=True)


def print_anything() -> None:
    """Whatever the terminal's encoding: a character that it doesn't have is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed (SGLang brings it along): a request costs a fifth less with it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def relieve_collector() -> None:
    """Garbage collection for many small requests: leaves out what is loaded by now, and looks at young
    objects every 200,000 instead of every 700. Without this a request costs a sixth more, and a full round
    through all modules holds the event loop for up to 80 ms (scripts/bench_scale.sh). Thousands in flight
    come and go together with 50 objects each: every 50,000, rounds are a sixth of the client's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)


def fail(problem: UserError) -> int:
    """Prints the error for people; returns the exit status."""
    print(f"error: {printable(problem)}", file=sys.stderr)
    return BAD_INPUT


LINE_SECONDS = 10.0


def say(text: str) -> None:
    """A line beside the bar."""
    tqdm.write(printable(text), file=sys.stderr)


PAUSE_SECONDS = 60.0


class Once(logging.Handler):
    """Shows every warning once, beside the bar, again when it hasn't come for a minute (another outage, then), and at
    the end how often those came that came again."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record unless one with the same text came within the last minute."""
        text, now = self.format(record), time.monotonic()
        self._counts[text] += 1
        if now - self._last.get(text, -math.inf) >= PAUSE_SECONDS:
            say(text)
        self._last[text] = now

    def close(self) -> None:
        """Says how often each repeated text came."""
        for text, count in self._counts.items():
            if count > 1:
                say(f"{text} ({count} times)")
        self._counts.clear()
        self._last.clear()
        super().close()


class Progress:
    """Counts finished items by status, with their rate; ``quiet`` shows none of it. Use as a context manager."""

    def __init__(self, total: int, done: int, unit: str, quiet: bool = False) -> None:
        self._total, self._done, self._unit, self._quiet = total, done, unit, quiet
        self._already = done
        self._counts: Counter[str] = Counter()
        self._started = self._printed = time.monotonic()
        shown = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True) if shown else None

    def add(self, status: str) -> None:
        """One more is done, with this outcome."""
        self._done += 1
        self._counts[status] += 1
        if self._bar is not None:
            self._bar.set_postfix(self._counts, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._printed >= LINE_SECONDS:
            self._line()

    def _line(self) -> None:
        if self._quiet:
            return
        self._printed = time.monotonic()
        rate = (self._done - self._already) / max(self._printed - self._started, 1e-9)
        counts = ", ".join(f"{name} {count}" for name, count in self._counts.most_common())
        print(f"{self._done}/{self._total} {self._unit}s, {rate:.2f}/s: {counts}", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._done > self._already:
            self._line()
