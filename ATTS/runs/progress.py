"""What a person sees while a run goes on: one bar at a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter

from tqdm import tqdm

LINE_SECONDS = 10.0


def say(text: str) -> None:
    """A line beside the bar."""
    tqdm.write(text, file=sys.stderr)


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
