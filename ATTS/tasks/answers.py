"""Finding the answer in a chain."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ATTS.published.chain import _LETTER

INVALID = "invalid"  # what result files hold when a chain has no answer, as published
THINK, END_OF_THINKING = "<think>", "</think>"

FindAnswer = Callable[[str, bool], str | None]  # (text, the author ended it) -> answer

_LINE = re.compile(r"ANSWER:[ \t]*(\S[^\n]*)")
# Where braces open and close, and which of them open a box; \{ and \} are literal ones.
_BRACES = re.compile(r"\\+(?P<box>boxed|fbox)\s*\{|\\[^\\]|[{}]")
# \boxed 5: no more than a number or one letter, or "in \boxed format" would be an answer
_BARE = re.compile(r"\\boxed(?:\s*([-+]?\d+(?:[.,/]\d+)*)|\s+([A-J]))(?![\w{])")
# What models put into a box when they speak of boxes.
_PLACEHOLDER = re.compile(
    r"(?:[\s.?_…-]|\\[lc]?dots|\\_)*|(?:\\text\{)?\s*(?:your |final |the )*answer\s*(?:here)?\}?", re.I
)
# Between two boxes of one list: "and", "or" or a comma, in and out of maths, perhaps "x_2 =".
_DRESS = re.compile(r"\\[()\[\],;:! ]|\\q?quad\b|\\(?:text|mathrm|textbf)\b|[\s$*{}~]|\b[A-Za-z](?:_\{?\w\}?)?\s*=")
_SEPARATOR = re.compile(r"[,;]?(?:and|or)|[,;]")
_NEAR = 80  # characters; a separator with all its dress is shorter


@dataclass(frozen=True, slots=True)
class Box:
    """A complete box: what is in it, and where it stands."""

    content: str
    start: int
    end: int


def find_answer(text: str, ended: bool) -> str | None:
    r"""The last complete ``\boxed{...}``, else the last ``ANSWER: X`` line; None if there is neither.

    Boxes that follow each other in one sentence (``x = \boxed{1} and \boxed{3}``) are one answer,
    ``1, 3``. ``ended`` says that the author ended the text, so that its last line is whole and a list
    of boxes has no more of them.
    """
    boxes = find_boxes(text, ended)
    if not boxes:
        return _find_line(text if ended else text[: text.rfind("\n") + 1])
    if not ended and _goes_on(text[boxes[-1].end :]):
        return None
    return joined(text, boxes)


def find_boxed(text: str) -> str | None:
    """Content of the last complete box, or of the last list of boxes."""
    boxes = find_boxes(text, ended=True)
    return joined(text, boxes) if boxes else None


def joined(text: str, boxes: list[Box]) -> str:
    """The last box and those before it that belong to the same list."""
    first = len(boxes) - 1
    while first and _is_separator(text[boxes[first - 1].end : boxes[first].start]):
        first -= 1
    return ", ".join(box.content for box in boxes[first:])


def find_boxes(text: str, ended: bool) -> list[Box]:
    r"""All complete boxes that hold something, in order: balanced ``\boxed{}`` and ``\fbox{}``, ``\boxed 5``.

    A box that the token limit cut off is no answer: the next chunk may complete it. A box within a
    box counts for both. Takes one pass, whatever the text.
    """
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    found = []
    opened: list[tuple[int, int] | None] = []  # (start, start of the content) of a box, None for other braces
    for match in _BRACES.finditer(text):
        if match["box"]:
            opened.append((match.start(), match.end()))
        elif match[0] == "{":
            opened.append(None)
        elif match[0] == "}" and opened and (box := opened.pop()):
            found.append(Box(text[box[1] : match.start()].strip(), box[0], match.end()))
    found += [
        Box(match[1] or match[2], match.start(), match.end())
        for match in _BARE.finditer(text)
        if ended or not re.fullmatch(r"[.,/]?\s*", text[match.end() : match.end() + 3])
    ]
    return [box for box in _without_nested(found) if not _PLACEHOLDER.fullmatch(box.content)]


def _without_nested(boxes: list[Box]) -> list[Box]:
    """Of a box in a box the inner one, unless the outer is short and so was meant as the answer."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.end):  # inner ones first, so they are the last that were kept
        outer = bool(kept) and kept[-1].start > box.start
        if outer and (len(box.content) > _NEAR or "\n\n" in box.content):
            continue  # an unclosed box that a stray brace closed
        while kept and kept[-1].start > box.start:
            kept.pop()
        kept.append(Box(_unboxed(box.content), box.start, box.end) if outer else box)
    return kept


def _unboxed(content: str) -> str:
    """``x = \\boxed{0}`` without its box."""
    bare = re.sub(r"\\+(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", content)
    return bare if bare == content else _unboxed(bare)


def _is_separator(between: str) -> bool:
    if len(between) > _NEAR or "\n\n" in between:
        return False
    return _SEPARATOR.fullmatch(_DRESS.sub("", between)) is not None


def _goes_on(rest: str) -> bool:
    """Whether a text that breaks off after a box breaks off within a list of boxes."""
    return _is_separator(rest.partition("\\boxed")[0].partition("\\fbox")[0])


def _find_line(text: str) -> str | None:
    matches = _LINE.findall(text)
    return str(matches[-1]).strip() if matches else None


def after_think(find: FindAnswer) -> FindAnswer:
    """``find``, but only behind the end of thinking: a box before it is an intermediate result.

    A model's prompt may have opened the thinking, so a text without any mark counts as thought until
    its author has ended it; then it was written by a model that doesn't mark its thoughts.
    """

    def found(text: str, ended: bool) -> str | None:
        _, mark, rest = text.rpartition(END_OF_THINKING)
        if mark:
            return find(rest, ended)
        return find(text, ended) if ended and THINK not in text else None

    return found


_BOX = re.compile(r"\\boxed\{(.*?)\}")


def find_answer_not_balanced(text: str, ended: bool = True) -> str | None:  # noqa: ARG001
    """What stands behind the last ``\\boxed{`` up to the first ``}`` of its line, empty or not; else the letter
    behind the last ``ANSWER:`` in any case and at least one blank. Nested braces are cut, as
    they were in the published runs."""
    for pattern in (_BOX, _LETTER):
        found = pattern.findall(text)
        if found:
            return str(found[-1])
    return None
