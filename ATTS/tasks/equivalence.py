"""Do two answers mean the same? The math-verify library in worker processes that can be killed."""

import multiprocessing
import re
from collections.abc import Iterable
from concurrent.futures import TimeoutError as FutureTimeout
from enum import StrEnum

from pebble import ProcessExpired, ProcessPool

CHECK_SECONDS = 5.0
START_SECONDS = 60.0  # a fresh worker imports sympy first
LONGEST = 2000  # characters; no answer is longer, and the parser's time grows steeply

_INTEGER = re.compile(r"[-+]?\d{1,300}")
_LETTER = re.compile(r"\(?([A-J])[).]?")


class Verdict(StrEnum):
    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "undecided"  # the check ran out of time or broke; counted as not correct, and shown


def compare_quickly(reference: str, answer: str) -> Verdict | None:
    """The verdict where no algebra is needed: same text, integers, letters. None where it is."""
    reference, answer = _tidy(reference), _tidy(answer)
    if reference == answer:
        return Verdict.EQUAL
    if _INTEGER.fullmatch(reference) and _INTEGER.fullmatch(answer):
        return Verdict.EQUAL if int(reference) == int(answer) else Verdict.DIFFERENT
    letters = _LETTER.fullmatch(reference), _LETTER.fullmatch(answer)
    if letters[0] and letters[1]:
        return Verdict.EQUAL if letters[0][1] == letters[1][1] else Verdict.DIFFERENT
    if len(answer) > LONGEST or len(reference) > LONGEST:
        return Verdict.DIFFERENT
    return None


def _tidy(text: str) -> str:
    return text.strip().strip("$").strip().removesuffix(".")


def _check(reference: str, answer: str) -> bool:
    """Runs in a worker. Its time limit is the pool's, which kills; the library's own is off."""
    import math_verify

    gold = math_verify.parse(f"${_tidy(reference)}$", parsing_timeout=None)
    given = math_verify.parse(f"${_tidy(answer)}$", parsing_timeout=None)
    return bool(math_verify.verify(gold, given, timeout_seconds=None))


class Grader:
    """Compares pairs (reference, answer); each distinct pair once. Use as a context manager."""

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._pool: ProcessPool | None = None
        self._known: dict[tuple[str, str], Verdict] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()

    def compare(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """Verdicts in the order of ``pairs``."""
        pairs = list(pairs)
        hard = []
        for pair in dict.fromkeys(pairs):
            if pair not in self._known:
                quick = compare_quickly(*pair)
                if quick is None:
                    hard.append(pair)
                else:
                    self._known[pair] = quick
        if hard:
            pool = self._started()
            futures = [pool.schedule(_check, args=pair, timeout=CHECK_SECONDS) for pair in hard]
            for pair, future in zip(hard, futures, strict=True):
                try:
                    self._known[pair] = Verdict.EQUAL if future.result() else Verdict.DIFFERENT
                except (FutureTimeout, ProcessExpired, MemoryError, RecursionError):
                    self._known[pair] = Verdict.UNDECIDED
                except Exception:  # the parser fails on malformed text in many ways; none is an answer
                    self._known[pair] = Verdict.UNDECIDED
        return [self._known[pair] for pair in pairs]

    def _started(self) -> ProcessPool:
        if self._pool is None:
            # "spawn": a fork of a process with an event loop and threads may dead-lock.
            self._pool = ProcessPool(self._workers, context=multiprocessing.get_context("spawn"), initializer=_warm_up)
            self._pool.schedule(_check, args=("1/2", "0.5"), timeout=START_SECONDS).result()
        return self._pool


def _warm_up() -> None:
    """Imports what a check needs before its clock runs, and silences a warning that the library's own
    time limit is off."""
    import logging

    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math_verify.parse("$1$", parsing_timeout=None)
