"""Failures by plan: which requests of an emulated server go wrong, and how."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong with a request."""

    DELAY = "delay"  # the answer comes `seconds` late
    STATUS = "status"  # an error status instead of an answer
    RESET = "reset"  # the connection is reset
    HALF = "half"  # the body stops half-way
    BAD_JSON = "bad_json"  # a body that is not JSON
    NAN = "nan"  # a NaN among the log-probabilities (or a body that holds one)
    NONE = "none"  # a null among them
    SHORT = "short"  # one log-probability too few
    OTHER = "other"  # the log-probabilities of other tokens, or ids that are none
    EMPTY = "empty"  # an object with nothing in it
    DRIP = "drip"  # a byte of it every `seconds`
    HANG = "hang"  # no answer ever


@dataclass(frozen=True, slots=True)
class Fault:
    """Applies to the ``at``-th requests to /generate and chat (counted from 0), to every ``every``-th, to all from the
    ``since``-th on, or to a random ``share`` of them."""

    kind: Kind
    at: frozenset[int] = frozenset()
    every: int = 0
    since: int = 0
    share: float = 0.0
    status: int = 503
    seconds: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """From ``status,at=3+7,status=429`` or ``delay,share=0.1,seconds=2``. Raises ValueError."""
        kind, *options = text.split(",")
        chosen: dict[str, object] = {}
        readers: dict[str, Callable[[str], object]] = {
            "at": lambda value: frozenset(map(int, value.split("+"))),
            "every": int,
            "since": int,
            "share": float,
            "status": int,
            "seconds": float,
        }
        for option in options:
            name, _, value = option.partition("=")
            if name not in readers:
                raise ValueError(f"a fault has no {name!r}; it has {', '.join(readers)}")
            chosen[name] = readers[name](value)
        try:
            return cls(Kind(kind), **chosen)  # type: ignore[arg-type]
        except ValueError:
            raise ValueError(f"there is no fault {kind!r}; there are {', '.join(Kind)}") from None


class Plan:
    """Faults in order of precedence; the random ones by seed."""

    def __init__(self, faults: tuple[Fault, ...] = (), seed: int = 0) -> None:
        self._faults = faults
        self._random = random.Random(seed)
        self._numbers: Iterator[int] = itertools.count()

    def next(self) -> Fault | None:
        """The fault of the next request, if it has one."""
        number = next(self._numbers)
        for fault in self._faults:
            hit = number in fault.at or (fault.every and number % fault.every == fault.every - 1)
            hit = hit or (fault.since and number >= fault.since)
            if hit or (fault.share and self._random.random() < fault.share):
                return fault
        return None
