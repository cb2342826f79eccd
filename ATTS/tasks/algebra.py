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

from ATTS.tasks import quantities, structure

READY, EQUAL, DIFFERENT, FAILED = b"r", b"=", b"!", b"?"  # what the process says, a byte each
ORPHAN_SECONDS = 10  # of computing, for one check
MEMORY = 1 << 30  # bytes that checks may take on top of what the imports take
DIGITS = 60  # to which constants that are not rational are told apart
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", re.S)


def equal(reference: str, answer: str) -> bool:
    """Whether two answers in plain notation mean the same. Takes as long as it takes."""
    wanted, given = structure.elements(reference), structure.elements(answer)
    if 1 < len(wanted) == len(given) <= structure.MOST_ELEMENTS:
        return _same_elements(wanted, given)
    if len(wanted) == 1 and len(given) > 1 and not answer.startswith("\\{"):
        if structure.is_point(reference):  # without its brackets
            return _equal(reference, f"({answer})")
        return len(given) <= structure.MOST_ELEMENTS and all(_equal(reference, one) for one in given)  # "11/2, 5.5"
    if len(given) == 1 and len(wanted) > 1 and structure.is_point(answer) and not reference.startswith("\\{"):
        return _equal(f"({reference})", answer)
    return _equal(reference, answer)


def _same_elements(wanted: list[str], given: list[str]) -> bool:
    """In any order, as often as the reference has them."""
    left = list(given)
    for element in wanted:
        same = next((one for one in left if _equal(element, one)), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _equal(reference: str, answer: str) -> bool:
    """Of single expressions, points, intervals or equations."""
    names = structure.names(reference), structure.names(answer)
    wanted, given = structure.values(reference), structure.values(answer)
    equations = [len(structure.sides(text)) > 1 for text in (reference, answer)]
    if all(equations) and (None in names or names[0] != names[1]):
        return _same_value(reference, answer)
    if len(wanted) == len(given) == 1:
        return _same_value(wanted[0], given[0])
    if len(wanted) == 1 and len(structure.sides(reference)) <= 2:  # a chain of equal values
        last = given[-1]
        said = (
            given if _same_value(wanted[0], last) else given[:-1] if "." in last else []
        )  # a rounded value may follow
        return any(_same_value(wanted[0], one) for one in said) and all(_agrees(given[0], one) for one in given[1:])
    return _same_value(reference, answer)


def _same_value(reference: str, answer: str) -> bool:
    wanted, given = quantities.number(reference), quantities.number(answer)
    if wanted and given:
        return quantities.same_number(wanted, given)
    reference, answer = quantities.without_unit(reference), quantities.without_unit(answer)
    if _verify(reference, answer):
        return True
    vectors = _as_tuple(reference), _as_tuple(answer)
    return vectors != (reference, answer) and _verify(*vectors)


def _agrees(first: str, other: str) -> bool:
    """Whether two sides of a chain have the same value up to rounding."""
    try:
        one, two = map(_approximately, (first, other))
    except (AttributeError, IndexError, TypeError, ValueError):
        return False
    return abs(one - two) <= 0.005 * max(abs(one), abs(two), 1e-9)


def _approximately(text: str) -> complex:
    """Raises AttributeError, IndexError, TypeError or ValueError for what is no constant."""
    number = quantities.number(text)
    return complex(number.value if number else _parse(text)[0].evalf())


def _verify(reference: str, answer: str) -> bool:
    import math_verify

    gold, given = _parse(_renamed(reference)), _parse(_renamed(answer))
    exact = _compared_exactly(gold, given)
    if exact is not None:
        return exact
    if _is_symbol(gold) != _is_symbol(given) and _simplifies_to_zero(gold, given):
        return True
    return bool(
        math_verify.verify(
            gold, given, float_rounding=_places(gold), allow_set_relation_comp=True, timeout_seconds=None
        )
    )


def _renamed(text: str) -> str:
    """``E_1`` is a variable; the parser takes every E for Euler's number."""
    return re.sub(r"(?<![A-Za-z\\])E(?= ?_)", "W", text)


def _compared_exactly(gold: list[Any], given: list[Any]) -> bool | None:
    """Whether two exact constants are equal, however close they are; None for anything else."""
    import sympy

    if not gold or not given or not all(isinstance(side[0], sympy.Expr) for side in (gold, given)):
        return None
    one, two = gold[0], given[0]
    if one.free_symbols or two.free_symbols or one.has(sympy.Float) or two.has(sympy.Float):
        return None
    one, two = one.doit(), two.doit()
    if one.is_Rational and two.is_Rational:
        return bool(one == two)
    if not (one.is_number and two.is_number) or two.is_zero or one.has(sympy.oo, sympy.zoo, sympy.nan):
        return None
    ratio = sympy.N(one / two, DIGITS, maxn=DIGITS * 40)
    if not ratio.is_number or abs(ratio - 1) < sympy.Float(10) ** -(DIGITS - 10):
        return None  # as close as can be seen: the library simplifies
    return False


def _is_symbol(parsed: list[Any]) -> bool:
    return bool(parsed) and getattr(parsed[0], "is_Symbol", False)


def _simplifies_to_zero(gold: list[Any], given: list[Any]) -> bool:
    """The library compares a single letter with letters only; ``x`` is ``2x / 2`` all the same."""
    try:
        return bool((gold[0] - given[0]).simplify() == 0)
    except (AttributeError, IndexError, TypeError):  # one of them is no expression
        return False


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
    """A column, or a row transposed, as ``(a, b)``; anything else as it is."""
    match = _MATRIX.fullmatch(text)
    row = re.fullmatch(r"\\begin\{pmatrix\}([^\\]*)\\end\{pmatrix\} ?\^ ?\{? ?(?:\\text ?\{ ?)?(?:T|\\top) ?\}*", text)
    if row:
        return f"({row[1].replace('&', ',')})"
    if not match or "&" in match[1]:
        return text
    return f"({', '.join(row.strip() for row in match[1].split(chr(92) * 2) if row.strip())})"


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
