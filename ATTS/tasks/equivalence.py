"""Do two answers mean the same? By their notation where that tells, else by algebra in worker
processes that can be killed."""

import os
import re
from collections.abc import Iterable
from enum import StrEnum

from ATTS.console import STOPPING
from ATTS.tasks import notation, quantities, structure, wording
from ATTS.tasks.workers import Workers

LONGEST = 400  # characters; the longest answer of the data sets has 170, and the parser's time grows steeply
DEEPEST = 12  # brackets within brackets

_INTEGER = re.compile(r"[-+]?\d{1,300}")
# What algebra would write out in full and never finish.
_MONSTROUS = re.compile(
    r"\^ ?\{? ?-?\d{5}"  # exponents from 10,000 on
    r"|\^ ?\{? ?\(?\d+ ?\^ ?\{? ?(?:\d\d|[6-9])"  # powers of powers: 2^{3^6} and up
    r"|\^[^,+=&]*\^[^,+=&]*\^"  # towers
    r"|[a-zA-Z][^(]*\) ?\^ ?\{? ?\d{3}"  # (x + y)^{100} and up
    r"|\d{5,}[ })]*!|! ?!"  # factorials
    r"|\\[dt]?binom[^,+=&]*\d{5}"
    r"|\\(?:sum|prod|bigcup)\b.*\d{5}"
)


class Verdict(StrEnum):
    """What a comparison of two answers says."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "undecided"  # no check was possible or it ran out of time; counted as not correct, and shown


def read(text: str) -> str:
    """An answer in plain notation, without what introduces or rounds the value."""
    return structure.canonical(notation.plain(text))


def compare_quickly(reference: str, answer: str) -> Verdict | None:
    """The verdict where no algebra is needed, or none is possible. None where it is."""
    if reference.strip() == answer.strip():
        return Verdict.EQUAL
    if len(answer) > LONGEST or len(reference) > LONGEST:
        return Verdict.UNDECIDED
    plain = notation.plain(reference), notation.plain(answer)
    for compare in (_letters, _words):
        verdict = compare(*plain)
        if verdict is not None:
            return Verdict.EQUAL if verdict else Verdict.DIFFERENT
    reference, answer = map(structure.canonical, plain)
    if not answer:
        return Verdict.DIFFERENT
    if notation.compact(reference) == notation.compact(answer):
        return Verdict.EQUAL
    for compare in (_based, _numbers, _lists, _equations):
        verdict = compare(reference, answer)
        if verdict is not None:
            return Verdict.EQUAL if verdict else Verdict.DIFFERENT
    if _is_monstrous(reference) or _is_monstrous(answer):
        return Verdict.UNDECIDED
    return None


def _letters(reference: str, answer: str) -> bool | None:
    if not wording.is_letter(reference):
        return None
    chosen = wording.letter(answer)
    return wording.letter(reference) == chosen if chosen else None


def _words(reference: str, answer: str) -> bool | None:
    wanted, given = wording.words(reference), wording.words(answer)
    if wanted is not None and wanted == given:
        return True
    if wanted is None or wording.as_symbols(reference) != reference:
        return None
    return False if wording.is_text(reference) or wording.is_text(answer) else None


def _based(reference: str, answer: str) -> bool | None:
    """An answer may name a base where the reference doesn't, but not leave out the reference's."""
    wanted, given = quantities.based(reference), quantities.based(answer)
    if wanted and given:
        return wanted == given
    if wanted and quantities.number(answer):
        return False
    if given and _INTEGER.fullmatch(reference):
        return reference == given[0]
    return None


def _numbers(reference: str, answer: str) -> bool | None:
    """Also of ``x = 5`` and of chains such as ``26 \\times 25 = 650``, whose sides must agree."""
    if all(len(structure.sides(text)) > 1 for text in (reference, answer)):
        names = structure.names(reference), structure.names(answer)
        if None in names or names[0] != names[1]:
            return None
    wanted, given = (list(map(quantities.number, structure.values(text))) for text in (reference, answer))
    if len(wanted) != 1 or wanted[0] is None or len(given) != 1 or given[0] is None:
        return None
    return quantities.same_number(wanted[0], given[0])


def _lists(reference: str, answer: str) -> bool | None:
    """Lists of different lengths differ; numbers are compared one by one, in any order."""
    wanted, given = structure.elements(reference), structure.elements(answer)
    if len(wanted) == 1 or len(given) == 1 or "\\ldots" in reference + answer:
        return None
    if len(wanted) != len(given):
        return False
    left = list(given)
    for element in wanted:
        verdicts = [None if _is_point(one) else _element(element, one) for one in left]
        if True not in verdicts:
            return None if None in verdicts else False
        del left[verdicts.index(True)]
    return True


def _is_point(text: str) -> bool:
    return text[:1] in ("(", "[")


def _element(reference: str, answer: str) -> bool | None:
    if notation.compact(reference) == notation.compact(answer):
        return True
    names = structure.names(reference), structure.names(answer)
    if None not in names and names[0] != names[1]:
        return False
    return _numbers(reference, answer)


def _equations(reference: str, answer: str) -> bool | None:
    """An equation that says no value is not one of its sides: ``x^2 = 4`` is not 4."""
    wanted, given = structure.sides(reference), structure.sides(answer)
    if (len(wanted) > 1) == (len(given) > 1):
        return None
    text, equation = (answer, given) if len(given) > 1 else (reference, wanted)
    says_a_value = len(structure.values(text)) < len(equation) or not any(map(structure.variables, equation))
    return None if says_a_value or "," in text else False


def _is_monstrous(text: str) -> bool:
    """Whether algebra on it would not end: too deep for the parser or too large to write out."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest > DEEPEST or _MONSTROUS.search(text) is not None


class Grader:
    """Compares pairs (reference, answer); each distinct pair once. Use as a context manager."""

    def __init__(self, workers: int | None = None) -> None:
        """``workers`` processes; by default one a core, from two to eight."""
        self._count = workers or min(8, max(2, os.cpu_count() or 2))
        self._workers: Workers | None = None
        self._known: dict[tuple[str, str], Verdict] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def forget(self) -> None:
        """Forgets the pairs it has compared, for a grader that outlives its questions."""
        self._known.clear()

    def compare(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """Verdicts in the order of ``pairs``. Raises nothing, whatever the texts are, but KeyboardInterrupt when the
        command is to end."""
        pairs = list(pairs)
        hard = []
        stopping = STOPPING.get()
        for pair in dict.fromkeys(pairs):
            if stopping is not None and stopping.is_set():
                raise KeyboardInterrupt
            if pair not in self._known:
                quick = compare_quickly(*pair)
                if quick is None:
                    hard.append(pair)
                else:
                    self._known[pair] = quick
        if hard:
            if self._workers is None:
                self._workers = Workers(self._count)
            plain = ((read(reference), read(answer)) for reference, answer in hard)
            for pair, equal in zip(hard, self._workers.equal(plain), strict=True):
                self._known[pair] = _VERDICTS[equal]
        return [self._known[pair] for pair in pairs]


_VERDICTS = {True: Verdict.EQUAL, False: Verdict.DIFFERENT, None: Verdict.UNDECIDED}
