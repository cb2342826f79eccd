"""The demo's problems: a running two-digit number, 4 to 8 events. Their solutions: scripts/demo_pair/solutions.py."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon", "Kim", "Leo")
THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "marbles", "pens", "shells", "stamps")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August")
GAINS = ("bought", "found", "won")
LOSSES = ("sold", "lost", "given")
LOW, HIGH = 10, 99  # every running value has two digits


@dataclass(frozen=True)
class Event:
    """What happens to an amount in one month."""

    month: str
    amount: int
    verb: str

    @property
    def phrase(self) -> str:
        """The event in words."""
        return f"{self.month} {self.amount} {self.verb}"

    def apply(self, value: int) -> int:
        """The amount after it."""
        return value + self.amount if self.verb in GAINS else value - self.amount


@dataclass(frozen=True)
class Problem:
    """A question about an amount after several events."""

    name: str
    thing: str
    start: int
    events: tuple[Event, ...]

    @property
    def question(self) -> str:
        """Its text."""
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
        """The amount at the end."""
        return str(self.values[-1])


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
