"""Worker processes that compare answers by algebra, each check bounded in time and memory.

Plain subprocesses rather than a process pool: they import nothing of the program that started them, are
killed at the end of a check's time and not some time after it, and none outlives the pool.
"""

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ATTS.console import STOPPING
from ATTS.errors import UserError
from ATTS.tasks import algebra

CHECK_SECONDS = 5.0
POLL_SECONDS = 0.1
START_SECONDS = 600.0  # a fresh worker imports sympy first: over 120 s where a machine has far more work than cores


class Workers:
    """``count`` processes and as many checks at a time. Use ``close`` at the end."""

    def __init__(self, count: int) -> None:
        self._all = [_Worker() for _ in range(count)]
        self._stopping = STOPPING.get()
        # First in, first out: a worker that was started anew gets time to be ready.
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)

    def equal(self, pairs: Iterable[tuple[str, str]]) -> list[bool | None]:
        """Whether the two of each pair mean the same; None where that could not be found out. Raises KeyboardInterrupt
        when the command is to end."""
        with ThreadPoolExecutor(len(self._all)) as threads:
            return list(threads.map(self._check, pairs))

    def _check(self, pair: tuple[str, str]) -> bool | None:
        worker = self._free.get()
        try:
            return worker.check(pair, self._stopping)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Ends the worker processes."""
        for worker in self._all:
            worker.stop()


class _Worker:
    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        package = str(Path(algebra.__file__).parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
            [sys.executable, "-m", algebra.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OPENAI_API_KEY": ""},
        )
        self._ready = False

    def check(self, pair: tuple[str, str], stopping: threading.Event | None) -> bool | None:
        if not self._ready and self._reply(START_SECONDS, stopping) != algebra.READY:
            raise UserError(
                f"a process that compares answers did not start (python -m {algebra.__name__}): the machine lacks"
                " memory or time; rerun the same command when it has less to do"
            )
        self._ready = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(pair).encode() + b"\n")
            self._process.stdin.flush()
            reply = self._reply(CHECK_SECONDS, stopping)
        except BrokenPipeError:
            reply = b""
        if reply in (algebra.EQUAL, algebra.DIFFERENT):
            return reply == algebra.EQUAL
        if reply != algebra.FAILED:  # out of time, or dead
            self.stop()
            self._start()
        return None

    def _reply(self, seconds: float, stopping: threading.Event | None) -> bytes:
        """One byte; nothing if there is none in time or the process is gone. Raises KeyboardInterrupt."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            if stopping is not None and stopping.is_set():
                raise KeyboardInterrupt
            if poll.poll(1000 * min(left, POLL_SECONDS)):
                return os.read(self._process.stdout.fileno(), 1)
        return b""

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
