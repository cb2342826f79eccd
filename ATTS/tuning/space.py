"""Settings that finished runs can answer for: which run, how many of its samples and turns, and when to stop."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.votes.stop import StopName, fewest, rule

STOPS: tuple[tuple[StopName, float | None], ...] = (
    *(("none", None), ("majority", None), ("beta", 0.9), ("beta", 0.95), ("beta", 0.99)),
    *(("asc", 0.8), ("esc", 4.0)),
)


@dataclass(frozen=True, order=True, slots=True)
class Setting:
    """``run``: the name of a finished run, which stands for its models, rate and chunk lengths."""

    run: str
    turns: int
    repeats: int
    stop: StopName = "none"
    threshold: float | None = None

    def __str__(self) -> str:
        stop = "" if self.stop == "none" else f", {self.stop}{'' if self.threshold is None else f' {self.threshold:g}'}"
        return f"{self.run}: {self.repeats} samples, {self.turns} turns{stop}"

    def json(self) -> dict[str, Any]:
        """As in the archive."""
        return {name: getattr(self, name) for name in ("run", "turns", "repeats", "stop", "threshold")}


@dataclass(frozen=True)
class Space:
    """All settings, in a fixed order; ``runs`` in the order in which they were given."""

    settings: tuple[Setting, ...]
    runs: tuple[str, ...]

    @classmethod
    def of(cls, runs: Iterable[tuple[str, int, int]], vote: bool) -> "Space":
        """``runs``: name, most turns and samples of each. Doubling numbers of turns and, if they ``vote``, of samples,
        with every rule that can stop before the last of these."""
        given = list(runs)
        found = []
        for name, turns, repeats in given:
            for t in doubling(turns):
                for r in doubling(repeats) if vote else (1,):
                    found += [Setting(name, t, r, *stop) for stop in STOPS if _matters(*stop, r)]
        return cls(tuple(found), tuple(name for name, *_ in given))

    @cached_property
    def near(self) -> dict[Setting, list[Setting]]:
        """Of each setting those that differ in one thing by one step (:func:`neighbours`)."""
        return {setting: neighbours(self.settings, setting) for setting in self.settings}

    def features(self) -> NDArray[np.float64]:
        """A row a setting: logarithms of turns and samples, and which run and rule it is."""
        rules = list(dict.fromkeys((s.stop, s.threshold) for s in self.settings))
        return np.array(
            [
                [
                    math.log2(s.turns),
                    math.log2(s.repeats),
                    *(float(s.run == run) for run in self.runs),
                    *(float((s.stop, s.threshold) == one) for one in rules),
                ]
                for s in self.settings
            ]
        )


def doubling(most: int) -> list[int]:
    """1, 2, 4 ... and ``most``."""
    return sorted({*(2**i for i in range(most.bit_length())), most})


def _matters(stop: StopName, threshold: float | None, repeats: int) -> bool:
    return stop == "none" or fewest(rule(stop, threshold), [], repeats) < repeats


def neighbours(space: Sequence[Setting], of: Setting) -> list[Setting]:
    """Settings that differ in one thing by one step: samples, then turns, then the rule, then the run."""
    stop = (of.stop, of.threshold)
    own = [s for s in space if s.run == of.run]
    repeats, turns = sorted({s.repeats for s in own}), sorted({s.turns for s in own})

    def step(values: Sequence[int], one: int, other: int) -> bool:
        return abs(values.index(one) - values.index(other)) == 1

    by_rule = [s for s in own if (s.stop, s.threshold) == stop]
    return [
        *(s for s in by_rule if s.turns == of.turns and step(repeats, s.repeats, of.repeats)),
        *(s for s in by_rule if s.repeats == of.repeats and step(turns, s.turns, of.turns)),
        *(s for s in own if (s.repeats, s.turns) == (of.repeats, of.turns) and (s.stop, s.threshold) != stop),
        *(s for s in space if s.run != of.run and s == replace(of, run=s.run)),
    ]
