"""What all front doors share: progress, errors for people, Ctrl-C."""

import asyncio
import gc
import io
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from tqdm import tqdm

from ATTS.errors import UserError
from ATTS.flags import Settings, parse

BAD_INPUT, INTERRUPTED, UNREAD = 2, 130, 141


def run(settings: type[Settings], description: str | None, command: Callable[[Settings], Awaitable[object]]) -> None:
    """Parses, runs ``command`` and ends the process: 0, 2 for a UserError, 130 when interrupted."""
    print_anything()
    warnings = Once()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", handlers=[warnings])

    async def main(chosen: Settings) -> object:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await command(chosen)

    try:
        chosen = parse(settings, description)
        relieve_collector()
        with asyncio.Runner(loop_factory=event_loop) as runner:
            result = runner.run(main(chosen))
        warnings.close()
        print(result, flush=True)
    except UserError as problem:
        warnings.close()
        sys.exit(fail(problem))
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    except OSError as error:
        sys.exit(
            fail(UserError(f"{error.filename or 'the output'} can't be read or written: {error.strerror or error}"))
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)


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
    objects every 50,000 instead of every 700. Without this a request costs a sixth more, and a full round
    through all modules holds the event loop for up to 80 ms (scripts/bench_scale.sh)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def fail(problem: UserError) -> int:
    print(f"error: {problem}", file=sys.stderr)
    return BAD_INPUT


LINE_SECONDS = 10.0


def say(text: str) -> None:
    """A line beside the bar."""
    tqdm.write(text, file=sys.stderr)


class Once(logging.Handler):
    """Shows every warning once, beside the bar, and at the end how often those came that came again."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._counts[text] += 1
        if self._counts[text] == 1:
            say(text)

    def close(self) -> None:
        for text, count in self._counts.items():
            if count > 1:
                say(f"{text} ({count} times)")
        self._counts.clear()
        super().close()


class Progress:
    """Counts finished items by status, with their rate. Use as a context manager."""

    def __init__(self, total: int, done: int, unit: str) -> None:
        self._total, self._done, self._unit = total, done, unit
        self._already = done
        self._counts: Counter[str] = Counter()
        self._started = self._printed = time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True) if sys.stderr.isatty() else None

    def add(self, status: str) -> None:
        self._done += 1
        self._counts[status] += 1
        if self._bar is not None:
            self._bar.set_postfix(self._counts, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._printed >= LINE_SECONDS:
            self._line()

    def under_way(self, text: str) -> None:
        """Says ``text`` as long as nothing has ended: the first item may take minutes."""
        if self._done > self._already:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            print(f"{self._done}/{self._total} {self._unit}s: {text}", file=sys.stderr, flush=True)

    def _line(self) -> None:
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
