"""Finding the answer in a chain."""

import re
from collections.abc import Callable
from dataclasses import dataclass

INVALID = "invalid"  # what result files hold when a chain has no answer, as published
THINK, END_OF_THINKING = "<think>", "</think>"

FindAnswer = Callable[[str, bool], str | None]  # (text, the author ended it) -> answer

# "ANSWER: 5" anywhere in a line, "**Answer:** 5" and "Final answer: 5" at its start, dressed or not.
_LINE = re.compile(
    r"(?:\bANSWER|^[ \t>#*_-]*(?:(?i:the |my )?(?i:final |correct )?(?i:answer)|\u7b54\u6848))"  # Chinese: answer
    r"[*_]*[ \t]*[:\uff1a][*_]*[ \t]*(\S[^\n]*)",
    re.M,
)
# Where braces open and close, and which of them open a box. \{ and \} are literal ones, \\ breaks a row.
_BRACES = re.compile(r"\\\\?(?P<box>boxed|fbox)\s*\{|\\.|[{}]", re.S)
# \boxed 5: a number, a fraction, a root, a word or one letter, or "in \boxed format" would be an answer. Digits are
# taken whole (++): a run of them that could be cut anywhere would be tried in all ways.
_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_ATOM = (
    r"(?:\d++(?:[.,/]\d++)*|\\[dtc]?frac\s*(?:" + _GROUP + r"|\d)\s*(?:" + _GROUP + r"|\d)"
    r"|\\sqrt\s*(?:\[\d+\])?(?:" + _GROUP + r"|\d)|\\(?:pi|infty|emptyset|varnothing)\b"
    r"|\\(?:text|math)(?:rm|bf|it|sf)?\{[^{}]*\})"
)
_BARE = re.compile(rf"\\boxed(?:\s*([-+]?{_ATOM}(?:\s?{_ATOM})*)|\s+([A-J]))(?![\w{{])")
# What models put into a box when they speak of boxes.
_PLACEHOLDER = re.compile(
    r"(?:[\s.?_…□-]|\\(?:[lc]?dots|q?quad|square|Box)\b|\\[_,;:! ])*"
    r"|(?:[<\[(]|\\langle|\\text\{)*\s*(?:(?:insert|put|write|enter|your|the|final|correct|numerical)[ _]+)*answer"
    r"(?:[ _]+(?:goes[ _]+)?here)?\s*(?:[>\])}]|\\rangle)*",
    re.I,
)
# Between two boxes of one list: "and", "or" or a comma, in and out of maths, perhaps "x_2 =".
_DRESS = re.compile(
    r"\\[()\[\],;:! ]|\\q?quad\b|\\(?:text|mathrm|textbf)\b|[\s$*{}~]|(?<![A-Za-z\\])[A-Za-z](?:_\{?\w\}?)?\s*="
)
_COMMA = r"[,;\u3001\uff0c\uff1b]"  # the Chinese ones, too, and Chinese for "and" and "or"
_SEPARATOR = re.compile(rf"{_COMMA}?(?:and|or|\u548c|\u6216\u8005?|\u4ee5\u53ca|\u53ca|\u4e0e)|{_COMMA}")
_NEAR = 80  # characters; a separator with all its dress is shorter


@dataclass(frozen=True, slots=True)
class Box:
    """A complete box: what is in it, and where it stands."""

    content: str
    start: int
    end: int


def find_answer(text: str, ended: bool) -> str | None:
    r"""The last complete ``\boxed{...}`` or the last line ``ANSWER: X`` behind it; None if there is neither.

    Boxes that follow each other in one sentence (``x = \boxed{1} and \boxed{3}``) are one answer,
    ``1, 3``. ``ended`` says that the author ended the text, so that its last line is whole and a list
    of boxes has no more of them.
    """
    boxes = find_boxes(text, ended)
    line = _find_line(text if ended else text[: text.rfind("\n") + 1], boxes[-1].end if boxes else 0)
    if line or not boxes:
        return line
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
    boxes: list[tuple[int, int, int, int]] = []  # the box, and what is in it: positions, for boxes may nest deeply
    opened: list[tuple[int, int] | None] = []  # (start, start of the content) of a box, None for other braces
    for match in _BRACES.finditer(text):
        if match["box"]:
            opened.append((match.start(), match.end()))
        elif match[0] == "{":
            opened.append(None)
        elif match[0] == "}" and opened and (box := opened.pop()):
            boxes.append((box[0], match.end(), box[1], match.start()))
    boxes += [
        (match.start(), match.end(), *match.span(match.lastindex or 0))
        for match in _BARE.finditer(text)
        if ended or not re.fullmatch(r"[.,/]?\s*", text[match.end() : match.end() + 3])
    ]
    return [box for box in _without_nested(text, boxes) if not _PLACEHOLDER.fullmatch(box.content)]


def _without_nested(text: str, boxes: list[tuple[int, int, int, int]]) -> list[Box]:
    """Of a box in a box the inner one, unless the outer is short and so was meant as the answer."""
    kept: list[tuple[int, int, int, int]] = []
    nesting = set()
    for box in sorted(boxes, key=lambda box: box[1]):  # inner ones first, so they are the last that were kept
        start, _, first, last = box
        outer = bool(kept) and kept[-1][0] > start
        if outer and (last - first > _NEAR or "\n\n" in text[first:last]):
            continue  # an unclosed box that a stray brace closed
        while kept and kept[-1][0] > start:
            kept.pop()
        kept.append(box)
        if outer:
            nesting.add(start)
    contents = ((start, end, text[first:last].strip()) for start, end, first, last in kept)
    return [Box(_unboxed(content) if start in nesting else content, start, end) for start, end, content in contents]


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


def _find_line(text: str, behind: int) -> str | None:
    """What the last line ``ANSWER: X`` says, without its dress, unless it starts before ``behind``."""
    *_, last = [None, *(line for line in _LINE.finditer(text, behind) if "boxed" not in line[1])]  # not a cut box
    line = last[1].strip().strip("*_`").strip() if last else ""
    return line.removesuffix(".") if line and not line.endswith("..") and not _PLACEHOLDER.fullmatch(line) else None


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


_PUBLISHED_LETTER = re.compile(r"ANSWER:\s+([A-Z])", re.IGNORECASE | re.ASCII)


def find_answer_not_balanced(text: str, ended: bool = True) -> str | None:  # noqa: ARG001
    """What stands behind the last ``\\boxed{`` up to the first ``}`` of its line, empty or not; else the letter
    behind the last ``ANSWER:`` in any case and at least one blank. Nested braces are cut, as
    they were in the published runs."""
    boxed = _last_not_balanced(text)
    if boxed is not None:
        return boxed
    letters = _PUBLISHED_LETTER.findall(text)
    return str(letters[-1]) if letters else None


def _last_not_balanced(text: str) -> str | None:
    r"""What ``re.findall(r"\\boxed\{(.*?)\}", text)`` finds last, in one pass: that looks through the rest of a line
    for every box in it that nothing closes."""
    found = None
    for line in text.split("\n"):
        at = 0
        while (box := line.find("\\boxed{", at)) >= 0 and (end := line.find("}", box)) >= 0:
            found, at = line[box + len("\\boxed{") : end], end + 1
    return found
