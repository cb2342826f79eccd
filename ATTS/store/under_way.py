"""Samples under way: what their models wrote and their rules decided, so that a run that was killed loses no more than
the requests in flight.

A file a sample, ``under_way/0007.jsonl`` in the run folder, a line a reply or decision; it goes when the sample is
stored. A line is with the operating system before anybody acts on it, so it outlives the process however that ends; a
crash of the machine may lose the last ones, which are then done again.
"""

import asyncio
import contextlib
import errno
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from ATTS.errors import UserError
from ATTS.method.conformal import Decision, RejectionRule
from ATTS.method.types import Generated, LanguageModel, TellsBest, Usage
from ATTS.store import atomic
from ATTS.store.records import HistoryEntry, Key
from ATTS.store.result_folder import removed

FOLDER = "under_way"
Line = dict[str, Any]
Place = tuple[str, int, int]  # role, which prompt, start of what is scored (-1: what is written)


class UnderWay:
    """The files of a run. Made before the run's folder is opened; until :meth:`open` nothing is known or kept.

    ``together``: how many samples of a question need each other, so that all are done again where one is missing: the
    files of a question stay until so many of it have ended, and those that had ended say again what they said.
    """

    def __init__(self, together: int = 1) -> None:
        self._together = together
        self._ended: dict[int, list[int]] = defaultdict(list)  # by question
        self._folder: Path | None = None
        self._about: Line = {}
        self._found: dict[int, list[Line]] = {}
        self._chains: dict[int, ChainJournal] = {}
        self._shared = False

    def open(
        self, folder: Path, about: Mapping[str, object], owed: Iterable[Key], own: Iterable[Key] | None = None
    ) -> None:
        """Reads what an interrupted run with the same settings, by the digests in ``about``, has of the samples that
        are ``owed``, and removes all else. ``own``: the samples of this part of a run whose other parts may write
        there, too; None: all. Raises UserError."""
        self._folder, self._about = kept, _ = folder / FOLDER, dict(about)
        self._shared = own is not None
        names = None if own is None else {_name(key.index) for key in own}
        try:
            if kept.is_symlink():
                kept.unlink()
            there = {path.name: path for path in kept.glob("*.jsonl") if names is None or path.name in names}
            for key in owed if there else ():
                path = there.get(_name(key.index))
                if path is None or path.is_symlink():
                    continue
                first, *lines = [line for line in atomic.read_lines(path) if line is not None] or [{}]
                if first == self._head(key) and lines:
                    self._found[key.index] = lines
                    del there[path.name]
            for path in there.values():
                path.unlink()
        except OSError as error:
            raise UserError(f"{kept} can't be read or written: {error.strerror}") from None

    def chain(self, key: Key) -> "ChainJournal":
        """Of a sample that begins now, or goes on."""
        lines = self._found.get(key.index, [])
        path = self._folder / _name(key.index) if self._folder else None
        made = ChainJournal(path, self._head(key), lines)
        self._chains[key.index] = made
        return made

    def earlier(self, key: Key) -> float:
        """Seconds that a sample was under way before it was interrupted."""
        return self._chains[key.index].earlier if key.index in self._chains else 0.0

    def ended(self, key: Key, again: bool) -> None:
        """A sample has ended and is stored; ``again``: as one that goes on another time."""
        self._chains.pop(key.index, None)
        if again or self._folder is None:
            return
        ended = self._ended[key.question.index]
        ended.append(key.index)
        if len(ended) >= self._together:
            for index in self._ended.pop(key.question.index):
                (self._folder / _name(index)).unlink(missing_ok=True)

    def decided(self) -> list[tuple[int, HistoryEntry]]:
        """The decisions of interrupted samples, each with the sample's number, as a history tells them."""
        return [
            (index, line["decision"]) for index, lines in self._found.items() for line in lines if "decision" in line
        ]

    def close(self) -> None:
        """Removes the folder if nothing is under way; one that others may use stays."""
        if self._folder is not None and not self._shared:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _head(self, key: Key) -> Line:
        return {**self._about, "question_id": key.question.id, "repeat": key.repeat}


class ChainJournal:
    """One sample's file. ``lines``: what is known of it. ``path``: None to keep nothing."""

    def __init__(self, path: Path | None, head: Line, lines: Sequence[Line]) -> None:
        self._path = path
        self.earlier = max((float(line.get("until", 0.0)) for line in lines), default=0.0)
        self._began = asyncio.get_running_loop().time() - self.earlier
        self._head, self._goes_on = head, bool(lines)
        self._begun = False
        self._replies: dict[Place, deque[Line]] = defaultdict(deque)
        for line in lines:
            if "place" in line:
                self._replies[tuple(line["place"])].append(line)
        self._decisions = deque(line["decision"] for line in lines if "decision" in line)

    def model(self, model: LanguageModel, role: str) -> "Recalled":
        """The model, which says again what it said."""
        return Recalled(model, role, self)

    def rule(self, rule: RejectionRule, learns: bool) -> RejectionRule:
        """The rule; one that ``learns`` from its decisions decides again as it did, without learning twice."""
        if not learns:
            return rule

        def decide(score: float, turn: int) -> Decision:
            if self._decisions and self._decisions[0]["turn"] == turn:
                known = self._decisions.popleft()
                return Decision(**{name: known.get(name) for name in Decision._fields})
            self._decisions.clear()
            decision = rule(score, turn)
            told = {name: value for name, value in decision._asdict().items() if value is not None}
            self.write({"decision": {"turn": turn, "ppl": score, **told}})
            return decision

        return decide

    def recall(self, place: Place) -> Line | None:
        """What was said in that place before, once."""
        waiting = self._replies.get(place)
        return waiting.popleft() if waiting else None

    def usage(self, told: Mapping[str, Any]) -> Usage:
        """With the time by this run's clock."""
        return Usage(**{**told, "asked_at": told["asked_at"] + self._began})

    def keep(self, place: Place, usage: Usage, **said: object) -> None:
        """Raises UserError."""
        told = asdict(replace(usage, asked_at=usage.asked_at - self._began))
        self.write({"place": place, **said, "usage": told})

    def write(self, line: Line) -> None:
        """Raises UserError."""
        path = self._path
        if path is None:
            return
        until = asyncio.get_running_loop().time() - self._began
        data = orjson.dumps({**line, "until": until}) + b"\n"
        try:
            if not self._begun:
                path.parent.mkdir(exist_ok=True)
                data = (b"\n" if self._goes_on else orjson.dumps(self._head) + b"\n") + data  # behind a torn line
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                if os.write(file, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)
        except FileNotFoundError:
            raise UserError(removed(path.parent.parent)) from None
        except OSError as error:
            raise UserError(
                f"{path} can't be written: {error.strerror}; make room and rerun the same command to resume"
            ) from None
        self._begun = True


class Recalled:
    """``model``, whose replies are kept, and which gives those that are known again (a
    :class:`ATTS.method.types.TellsBest` if the model is one). A reply is known by all tokens before it."""

    def __init__(self, model: LanguageModel, role: str, journal: ChainJournal) -> None:
        self._model, self._role, self._journal = model, role, journal

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        """See LanguageModel."""
        place = (self._role, hash(tuple(ids)), -1)
        if known := self._journal.recall(place):
            return Generated(known["ids"], known["ended"], self._journal.usage(known["usage"]), known["stopped"])
        made = await self._model.generate(ids, max_tokens, temperature, stop)
        self._journal.keep(place, made.usage, ids=made.ids, ended=made.ended, stopped=made.stopped)
        return made

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        """See LanguageModel."""
        place = (self._role, hash(tuple(ids)), start)
        if known := self._journal.recall(place):
            return known["logprobs"], self._journal.usage(known["usage"])
        values, usage = await self._model.logprobs(ids, start)
        self._journal.keep(place, usage, logprobs=values)
        return values, usage

    async def logprobs_and_best(
        self, ids: Sequence[int], start: int
    ) -> tuple[list[float | None], list[float | None], Usage]:
        """See TellsBest."""
        assert isinstance(self._model, TellsBest)
        place = (self._role, hash(tuple(ids)), start)
        if known := self._journal.recall(place):
            return known["logprobs"], known["best"], self._journal.usage(known["usage"])
        values, best, usage = await self._model.logprobs_and_best(ids, start)
        self._journal.keep(place, usage, logprobs=values, best=best)
        return values, best, usage


def _name(index: int) -> str:
    return f"{index:04d}.jsonl"
