"""The demo's problems: a running two-digit number, 4 to 8 events, one right chain of steps.

A solution is a list of paragraphs::

    January 12 bought, 47 + 12 = 59.

    February 35 sold, 59 - 35 = 24.

    ...

The format is deterministic, so at every point of a chain there is exactly one right way to go on, or
a correction that says where to go on from::

    Wait, after January = 59.

That makes "this chunk holds a wrong step" a fact that :func:`wrong_spans` computes, not a judgement.
Behind a correction the next step needs nothing but the paragraph before it, as everywhere, so
whoever writes next can go on.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon", "Kim", "Leo")
THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "marbles", "pens", "shells", "stamps")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August")
GAINS = ("bought", "found", "won")
LOSSES = ("sold", "lost", "given")
LOW, HIGH = 10, 99  # every running value has two digits
CORRECTION = "Wait, "
BREAK = "\n\n"


@dataclass(frozen=True)
class Event:
    month: str
    amount: int
    verb: str

    @property
    def phrase(self) -> str:
        return f"{self.month} {self.amount} {self.verb}"

    def apply(self, value: int) -> int:
        return value + self.amount if self.verb in GAINS else value - self.amount

    def step(self, value: int, result: int | None = None) -> str:
        """The paragraph for this event from ``value``; ``result`` overrides the right one."""
        sign = "+" if self.verb in GAINS else "-"
        return f"{self.phrase}, {value} {sign} {self.amount} = {self.apply(value) if result is None else result}."


@dataclass(frozen=True)
class Problem:
    name: str
    thing: str
    start: int
    events: tuple[Event, ...]

    @property
    def question(self) -> str:
        diary = "\n".join(f"{event.phrase}." for event in self.events)
        return f"{self.name} has {self.start} {self.thing}.\n{diary}\nHow many {self.thing} does {self.name} have?"

    @property
    def values(self) -> list[int]:
        """The running value before the first event and after each one."""
        values = [self.start]
        for event in self.events:
            values.append(event.apply(values[-1]))
        return values

    @property
    def answer(self) -> str:
        return str(self.values[-1])

    @property
    def paragraphs(self) -> list[str]:
        """The right chain, one paragraph a step."""
        steps = [event.step(value) for event, value in zip(self.events, self.values, strict=False)]
        return steps + self.ending(self.answer)

    @property
    def corrections(self) -> list[str]:
        """Paragraphs that take a chain back to before each event, and behind the last one."""
        return [self.correction(done, value) for done, value in enumerate(self.values)]

    def correction(self, done: int, value: int) -> str:
        """The paragraph that takes a chain back to where ``done`` events have led to ``value``."""
        place = f"after {self.events[done - 1].month}" if done else "at first"
        return f"{CORRECTION}{place} = {value}."

    def rest(self, done: int, value: int) -> "Problem":
        """What is left of the problem for one who believes that ``done`` events have led to ``value``."""
        return replace(self, start=value, events=self.events[done:])

    def ending(self, value: object) -> list[str]:
        return [
            f"Check: that was the last event, and what is left is {value}.",
            f"The final answer is \\boxed{{{value}}}.",
        ]

    @property
    def solution(self) -> str:
        return BREAK.join(self.paragraphs)


def draw(rng: random.Random) -> Problem:
    """One problem; every running value lies in [LOW, HIGH]."""
    value = start = rng.randint(LOW, HIGH)
    events: list[Event] = []
    for month in MONTHS[: rng.randint(4, 8)]:
        kinds = [*GAINS] * (HIGH - value >= LOW) + [*LOSSES] * (value - LOW >= LOW)
        verb = rng.choice(kinds)
        event = Event(month, rng.randint(LOW, HIGH - value if verb in GAINS else value - LOW), verb)
        events.append(event)
        value = event.apply(value)
    return Problem(rng.choice(NAMES), rng.choice(THINGS), start, tuple(events))


def problems(split: str, seed: int = 0) -> Iterator[Problem]:
    """Endless problems. Splits never share one: a problem belongs to the split its text hashes to."""
    rng = random.Random(f"{split}:{seed}")
    while True:
        problem = draw(rng)
        if split_of(problem) == split:
            yield problem


SPLITS = ("train", "train", "train", "train", "train", "train", "calibration", "test")


def split_of(problem: Problem) -> str:
    """Which split owns this problem: decided by its content alone, hence disjoint for any seeds."""
    return random.Random(problem.question).choice(SPLITS)


_PARSE = re.compile(
    r"(?P<name>[A-Z][a-z]+) has (?P<start>\d+) (?P<thing>[a-z]+)\.\n(?P<diary>.*?)\.\nHow many", re.DOTALL
)


def parse(question: str) -> Problem:
    """The problem of a question text. Raises ValueError for a text of another family."""
    match = _PARSE.search(question)
    if not match:
        raise ValueError(f"not a demo question: {question[:80]!r}")
    events = []
    for phrase in match["diary"].split(".\n"):
        month, amount, verb = phrase.split(" ")
        events.append(Event(month, int(amount), verb))
    return Problem(match["name"], match["thing"], int(match["start"]), tuple(events))


def wrong_spans(problem: Problem, chain: str) -> list[tuple[int, int]]:
    """Character ranges of ``chain`` that depart from the right text.

    Paragraph by paragraph: right is the paragraph that is due, a correction to a place not beyond it
    (which makes that place's paragraph due), or a beginning of either that was broken off. A
    paragraph that departs is wrong from its first wrong character to its full stop, so a step that
    builds on a wrong value is wrong too, until a correction.
    """
    right, corrections = problem.paragraphs, problem.corrections
    due, start = 0, 0
    spans = []
    for paragraph in chain.split(BREAK):
        end = start + len(paragraph)
        if paragraph in corrections[: due + 1]:
            due = corrections.index(paragraph)
        elif paragraph in right[due : due + 1]:
            due += 1
        else:
            allowed = [*right[due : due + 1], *corrections[: due + 1]]
            same = max(common_prefix(paragraph, candidate + BREAK) for candidate in allowed)
            if same < len(paragraph):
                spans.append((start + same, max(end - paragraph.endswith("."), start + same + 1)))
            due += paragraph.endswith(".")
        start = end + len(BREAK)
    return spans


def common_prefix(a: str, b: str) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
