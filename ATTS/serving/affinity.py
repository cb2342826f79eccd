"""Which chain a request belongs to: its requests go to one server, which has its beginning, and carry its name."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4


class Place(Protocol):
    """A server as a chain sees it. ``chains``: how many have their place there; ``moved``: how many have left it for
    another."""

    chains: int
    moved: int


@dataclass(eq=False)
class Affinity:
    """Of one chain. ``question``: chains with the same one share a prompt."""

    name: str
    question: str = ""
    asked: Counter[str] = field(default_factory=Counter)  # requests so far, by role
    _places: dict[str, Place] = field(default_factory=dict)  # by role

    def place(self, role: str) -> Place | None:
        """The server of that role that the chain is at."""
        return self._places.get(role)

    def move(self, role: str, place: Place) -> None:
        """From where it was, if anywhere."""
        if (before := self._places.get(role)) is not None:
            before.chains -= 1
            before.moved += 1
        place.chains += 1
        self._places[role] = place

    def leave(self) -> None:
        """The chain has ended."""
        for place in self._places.values():
            place.chains -= 1
        self._places.clear()


_CURRENT: ContextVar[Affinity | None] = ContextVar("affinity", default=None)


@contextmanager
def chain(name: str, question: str) -> Iterator[None]:
    """What is asked for in the block, in tasks that it starts, too, belongs to this chain."""
    own = Affinity(name, question)
    token = _CURRENT.set(own)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        own.leave()


@contextmanager
def of_request() -> Iterator[Affinity]:
    """The chain that a request belongs to; a request outside of any is one by itself."""
    if (current := _CURRENT.get()) is not None:
        yield current
        return
    own = Affinity(uuid4().hex)
    try:
        yield own
    finally:
        own.leave()
