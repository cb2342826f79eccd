"""Compares two answers by algebra, with the math-verify library, in a process of its own (see workers.py)."""

import dataclasses
import json
import logging
import math
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from ATTS.tasks import notation

READY, EQUAL, DIFFERENT, FAILED = b"r", b"=", b"!", b"?"  # what the process says, a byte each
ORPHAN_SECONDS = 10  # of computing, for one check
MEMORY = 1 << 30  # bytes that checks may take on top of what the imports take
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", re.S)


def equal(reference: str, answer: str) -> bool:
    """Whether two answers in plain notation mean the same. Takes as long as it takes."""
    reference, answer = notation.without_unit(reference), notation.without_unit(answer)
    if _verify(reference, answer):
        return True
    vectors = _as_tuple(reference), _as_tuple(answer)
    if vectors != (reference, answer) and _verify(*vectors):
        return True
    alternatives = _split(answer)  # "11/2, 5.5": several forms of one answer
    if len(alternatives) == 1 or len(_split(reference)) > 1:
        return False
    return all(_verify(reference, one) for one in alternatives)


def _verify(reference: str, answer: str) -> bool:
    import math_verify

    gold, given = _parse(reference), _parse(answer)
    if _is_symbol(gold) != _is_symbol(given) and _simplifies_to_zero(gold, given):
        return True
    return bool(
        math_verify.verify(
            gold, given, float_rounding=_places(gold), allow_set_relation_comp=True, timeout_seconds=None
        )
    )


def _is_symbol(parsed: list[Any]) -> bool:
    return bool(parsed) and getattr(parsed[0], "is_Symbol", False)


def _simplifies_to_zero(gold: list[Any], given: list[Any]) -> bool:
    """The library compares a single letter with letters only; ``x`` is ``2x / 2`` all the same."""
    import sympy

    both = [one for one in (*gold[:1], *given[:1]) if isinstance(one, sympy.Expr)]
    return len(both) == 2 and bool(sympy.simplify(both[0] - both[1]) == 0)


def _parse(text: str) -> list[Any]:
    """Sympy's objects and, behind them, the text itself. The library's own removal of units is off, because it
    takes the ``m`` of ``6m`` for metres, and so is its search for any number in a text that it can't read."""
    import math_verify

    default = math_verify.LatexExtractionConfig().normalization_config
    latex = math_verify.LatexExtractionConfig(normalization_config=dataclasses.replace(default, units=False))
    return list(math_verify.parse(f"${text}$", extraction_config=[latex], parsing_timeout=None))


def _places(gold: list[Any]) -> int:
    """Decimal places that matter: six, and more for a reference so small that these would be few digits."""
    try:
        size = abs(float(gold[0]))
    except (IndexError, TypeError, ValueError, OverflowError):
        return 6
    return 6 if size >= 1 or size == 0 else 6 - math.floor(math.log10(size))


def _as_tuple(text: str) -> str:
    """A column as ``(a, b)``; anything else as it is."""
    match = _MATRIX.fullmatch(text)
    if not match or "&" in match[1]:
        return text
    return f"({', '.join(row.strip() for row in match[1].split(chr(92) * 2) if row.strip())})"


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in (*parts, text[start:])]


def main() -> None:
    """Reads a pair a line, answers with a byte."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for a verdict
    import math_verify

    logging.disable(logging.CRITICAL)  # the library warns that its own time limit is off
    math_verify.parse("$1$", parsing_timeout=None)
    _bound_memory()
    os.write(out, READY)
    for line in sys.stdin:
        _bound_time()
        try:
            os.write(out, EQUAL if equal(*json.loads(line)) else DIFFERENT)
        except MemoryError:
            return  # a fresh process has more of it
        except Exception:  # all the ways in which a parser fails
            os.write(out, FAILED)


def _bound_time() -> None:
    """Ends a check that has nobody left to end it: the process that asked is gone."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + ORPHAN_SECONDS, hard))


def _bound_memory() -> None:
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux, where alone the bound can be set
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
