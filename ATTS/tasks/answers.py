"""Finding the answer in a chain."""

import re

INVALID = "invalid"  # what result files hold when a chain has no answer, as published
_BOX = "\\boxed"
_LINE = re.compile(r"ANSWER:[ \t]*(\S[^\n]*)")


def find_answer(text: str, ended: bool) -> str | None:
    """The last complete ``\\boxed{...}``, else the last ``ANSWER: X`` line; None if there is neither.

    ``ended`` says that the author ended the text, so that its last line is whole.
    """
    return find_boxed(text) or _find_line(text if ended else text[: text.rfind("\n") + 1])


def find_boxed(text: str) -> str | None:
    """Content of the last ``\\boxed{...}`` whose braces balance and that isn't empty.

    A box that the token limit cut off is no answer: the next chunk may complete it.
    """
    end = len(text)
    while (start := text.rfind(_BOX, 0, end)) >= 0:
        content = _balanced(text, start + len(_BOX))
        if content:
            return content
        end = start
    return None


def _balanced(text: str, position: int) -> str | None:
    while position < len(text) and text[position] == " ":
        position += 1
    if position >= len(text) or text[position] != "{":
        return None
    depth, i = 0, position
    while i < len(text):
        character = text[i]
        if character == "\\":  # \{ and \} are literal braces
            i += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[position + 1 : i].strip()
        i += 1
    return None


def _find_line(text: str) -> str | None:
    matches = _LINE.findall(text)
    return str(matches[-1]).strip() if matches else None
