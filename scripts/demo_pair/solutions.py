"""The one right chain of steps for a demo problem, and where another chain departs from it.

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

import re
from dataclasses import replace

from ATTS.demo.family import GAINS, Event, Problem

CORRECTION = "Wait, "
BREAK = "\n\n"


def step(event: Event, value: int, result: int | None = None) -> str:
    """The paragraph for ``event`` from ``value``; ``result`` overrides the right one."""
    sign = "+" if event.verb in GAINS else "-"
    return f"{event.phrase}, {value} {sign} {event.amount} = {event.apply(value) if result is None else result}."


def paragraphs(problem: Problem) -> list[str]:
    """The right chain, one paragraph a step."""
    steps = [step(event, value) for event, value in zip(problem.events, problem.values, strict=False)]
    return steps + ending(problem.answer)


def solution(problem: Problem) -> str:
    """The right chain."""
    return BREAK.join(paragraphs(problem))


def corrections(problem: Problem) -> list[str]:
    """Paragraphs that take a chain back to before each event, and behind the last one."""
    return [correction(problem, done, value) for done, value in enumerate(problem.values)]


def correction(problem: Problem, done: int, value: int) -> str:
    """The paragraph that takes a chain back to where ``done`` events have led to ``value``."""
    place = f"after {problem.events[done - 1].month}" if done else "at first"
    return f"{CORRECTION}{place} = {value}."


def rest(problem: Problem, done: int, value: int) -> Problem:
    """What is left of the problem for one who believes that ``done`` events have led to ``value``."""
    return replace(problem, start=value, events=problem.events[done:])


def ending(value: object) -> list[str]:
    """The last two paragraphs."""
    return [
        f"Check: that was the last event, and what is left is {value}.",
        f"The final answer is \\boxed{{{value}}}.",
    ]


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
    right, backwards = paragraphs(problem), corrections(problem)
    due, start = 0, 0
    spans = []
    for paragraph in chain.split(BREAK):
        end = start + len(paragraph)
        if paragraph in backwards[: due + 1]:
            due = backwards.index(paragraph)
        elif paragraph in right[due : due + 1]:
            due += 1
        else:
            allowed = [*right[due : due + 1], *backwards[: due + 1]]
            same = max(common_prefix(paragraph, candidate + BREAK) for candidate in allowed)
            if same < len(paragraph):
                spans.append((start + same, max(end - paragraph.endswith("."), start + same + 1)))
            due += paragraph.endswith(".")
        start = end + len(BREAK)
    return spans


def common_prefix(a: str, b: str) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
