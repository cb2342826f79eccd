"""Content from recorded runs: both models of the published system, sample by sample.

A recording is a JSON-lines file (gzip or plain), a sample a line: ``question``, ``turns`` of
``draft_text``, ``ppl`` (None: not scored) and ``target_text`` (None: not asked).
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ATTS.emulator.content import Ask, Content, Written

Item = TypeVar("Item")

JOINT = "\n\n"  # between the chunks of a chain, as the published driver sends it


@dataclass
class _Moment:
    """A chain as it stood when a model was asked; repeats that stand the same answer in turn."""

    drafts: deque[str] = field(default_factory=deque)
    continuations: deque[str] = field(default_factory=deque)
    scores: deque[float] = field(default_factory=deque)


class Recorded(Content):
    """Plays a recording back to whoever sends the chains that it holds.

    What is asked for is found by the prompt alone: the question in it, then the chain it ends in.
    The first drafts of a question are handed out in the order of the recording, so with several
    repeats at once a sample may be played under another repeat's number. A prompt that the
    recording doesn't hold raises LookupError: the driver has departed from it.
    """

    def __init__(self, samples: Sequence[dict[str, Any]], draft: str, target: str) -> None:
        self._draft, self._target = draft, target
        self._chains: dict[str, dict[str, _Moment]] = defaultdict(lambda: defaultdict(_Moment))
        for sample in samples:
            chains = self._chains[sample["question"]]
            said: list[str] = []
            for turn in sample["turns"]:
                chains[JOINT.join(said)].drafts.append(turn["draft_text"])
                said.append(turn["draft_text"])
                moment = chains[JOINT.join(said)]
                if turn["ppl"] is not None:
                    moment.scores.append(turn["ppl"])
                if turn["target_text"] is not None:
                    moment.continuations.append(turn["target_text"])
                    said.append(turn["target_text"])
        self._by_length = sorted(self._chains, key=len, reverse=True)

    def write(self, ask: Ask) -> Written:
        """See Content: the recorded text."""
        moment = self._moment(ask)
        said = {self._draft: moment.drafts, self._target: moment.continuations}[ask.role]
        if not said:
            raise LookupError(f"the recording's {ask.role} was not asked here")
        return Written(_next(said), "length")

    def logprobs(self, ask: Ask, start: int) -> list[float | None]:
        """See Content: equal values that give the recorded score. Raises LookupError."""
        scores = self._moment(ask).scores
        if not scores:
            raise LookupError("the recording has no score here")
        return [-math.log(_next(scores))] * (len(ask.ids) - start)

    def _moment(self, ask: Ask) -> _Moment:
        question = next((known for known in self._by_length if known in ask.text), None)
        if question is None:
            raise LookupError("the recording has no such question")
        chains = self._chains[question]
        if ask.assistant is not None:
            chain = ask.assistant if ask.assistant in chains else None
        else:  # the chain is whatever stands at the end, behind a template that only the driver knows
            chain = max((known for known in chains if ask.text.endswith(known)), key=len)
        if chain is None:
            raise LookupError("the recording has no such chain for this question")
        return chains[chain]


def _next(items: deque[Item]) -> Item:
    """The first, which goes to the end, so that nothing runs out when a request is repeated."""
    items.rotate(-1)
    return items[-1]
