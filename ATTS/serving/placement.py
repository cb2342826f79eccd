"""Which of several servers of one model a chain's next request goes to.

A chain stays with the server that has its beginning in the prefix cache. It moves when requests already wait there
and the server has more than ``STAY`` times as many as the servers have on the average (bounded load, Mirrokni et al.
2018, arXiv:1608.01350), or when the server is lost. A new chain goes to where its question's newest chain is, whose
prompt it shares, as long as that has no more than ``BEGIN`` times the mean in chains; else to where the fewest are.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from ATTS.serving.affinity import Affinity

# Of the mean, and one more: a place among few is a large share. A chain that moves is computed again; one that begins
# elsewhere only repeats its question's prompt.
STAY, BEGIN = 1.25, 1.05
QUESTIONS = 1024  # whose newest chain's server is known


class Place(Protocol):
    """A server. ``chains``: how many have their place there; ``moved``: how many have left it for another."""

    chains: int
    moved: int

    @property
    def role(self) -> str:
        """Of its model."""
        ...

    @property
    def asked(self) -> int:
        """Requests in flight, and those that wait for a slot."""
        ...

    @property
    def waiting(self) -> int:
        """These alone."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it isn't to be asked."""
        ...


Spot = TypeVar("Spot", bound=Place)


class Placement(Generic[Spot]):
    """Over ``places``, of which at least one is never lost."""

    def __init__(self, places: Sequence[Spot]) -> None:
        self._places = places
        self._questions: OrderedDict[str, Spot] = OrderedDict()

    def choose(self, who: Affinity, avoid: Collection[Spot] = ()) -> Spot:
        """Where the chain's next request goes; not to one of ``avoid`` if another is there."""
        up = [one for one in self._places if not one.lost]
        rest = [one for one in up if one not in avoid] or up
        home = next((one for one in rest if one is who.place(one.role)), None)
        if home is not None:
            if not home.waiting or home.asked + 1 <= _bound(STAY, (one.asked for one in up)):
                return home
            chosen = min(rest, key=lambda one: one.asked)
        else:
            chosen = self._newest(who.question, up, rest) or min(rest, key=lambda one: (one.chains, one.asked))
        if chosen is not home:
            who.move(chosen.role, chosen)
        if who.question:
            self._questions[who.question] = chosen
            self._questions.move_to_end(who.question)
            if len(self._questions) > QUESTIONS:
                self._questions.popitem(last=False)
        return chosen

    def _newest(self, question: str, up: Sequence[Spot], rest: Sequence[Spot]) -> Spot | None:
        """The server of the question's newest chain, if it has room for another."""
        found = self._questions.get(question)
        room = found in rest and found is not None and found.chains + 1 <= _bound(BEGIN, (one.chains for one in up))
        return found if room else None


def _bound(times: float, loads: Iterable[int]) -> float:
    """Most that one server may have when there is one more."""
    counts = list(loads)
    return times * (sum(counts) + 1) / len(counts) + 1
