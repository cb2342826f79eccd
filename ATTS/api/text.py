"""The text of an answer while it grows: what can be sent without taking anything back."""

from collections.abc import Callable, Sequence

from ATTS.method.chain import Chain, ModelView
from ATTS.method.take_over import Ruling, TakeOver
from ATTS.method.types import Event


class Visible:
    """What a client sees of a chain: nothing from a stop string on, and each part as soon as nothing can change it.

    ``emit`` gets each new part. What might be the beginning of a stop string is held back until that is known.
    """

    def __init__(self, stop: Sequence[str], emit: Callable[[str], None]) -> None:
        self._stop, self._emit = tuple(stop), emit
        self.text = ""  # sent so far
        self.settled = ""  # what the loop has accepted, stop strings and all

    def grow(self, text: str, whole: bool = False) -> None:
        """``text``: the chain as far as it is accepted; ``whole``: nothing comes after it."""
        self.settled = text
        end = self.cut(text)
        if end is None:
            end = len(text) if whole else len(text) - self._held(text)
        if end > len(self.text):
            new = text[len(self.text) : end]
            self.text = text[:end]
            self._emit(new)

    def cut(self, text: str) -> int | None:
        """Where the first stop string begins; None if there is none."""
        return min((at for at in map(text.find, self._stop) if at >= 0), default=None)

    def _held(self, text: str) -> int:
        """Length of the longest end of ``text`` with which a stop string begins."""
        longest = max(map(len, self._stop), default=0)
        ends = (text[-length:] for length in range(min(longest - 1, len(text)), 0, -1))
        return next((len(end) for end in ends if any(stop.startswith(end) for stop in self._stop)), 0)


class Watched(TakeOver):
    """A sample's rule that tells ``visible`` what it has accepted: each chunk when it is accepted, and what the target
    wrote when the next turn begins."""

    def __init__(self, rule: TakeOver, chain: Chain, visible: Visible) -> None:
        self._rule, self._chain, self._visible = rule, chain, visible
        self.rules_on_answers = rule.rules_on_answers

    async def begin(self, turn: int) -> None:
        """See TakeOver. What stands before a turn is never taken back, so it is shown."""
        self._visible.grow(self._chain.text)
        await self._rule.begin(turn)

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        """See TakeOver."""
        ruling = await self._rule.decide(chain, target, turn, drafted)
        if not ruling.discards:
            self._visible.grow(chain.text)
        return ruling

    def leave(self) -> None:
        """See TakeOver."""
        self._rule.leave()
