"""One run in three phases, each a context manager: a method connects to its servers, the folder is opened, what is
owed is run; then the folder is summed up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ATTS.analysis import metrics
from ATTS.console import Progress, say
from ATTS.errors import UserError
from ATTS.runs.models import ServedModel, surroundings
from ATTS.runs.parts import Answers, Results, Samples
from ATTS.runs.rules import RejectionRules
from ATTS.runs.samples import Ended, Loop, Schedule, run_samples
from ATTS.serving.limits import Limits
from ATTS.store import provenance
from ATTS.store.records import OWED, Key, Keys, record
from ATTS.store.result_folder import ResultStore
from ATTS.tasks.datasets import Question
from ATTS.tasks.llm import Extractor

log = logging.getLogger(__name__)


class RunSettings(Protocol):
    """What the settings of every method hold."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def answers(self) -> Answers: ...

    @property
    def samples(self) -> Samples: ...

    @property
    def output(self) -> Results: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a method runs, with servers that it is connected to. ``folder``: unless --output_dir names one.

    ``whole_questions``: the samples of a question need each other, so all are done again where one is missing.
    ``only_repeat``: no others than this one of every question.
    """

    command: str
    settings: RunSettings
    questions: Sequence[Question]
    models: Sequence[ServedModel]
    limits: Limits
    folder: Path
    schedule: Schedule = "queue"
    rules: RejectionRules | None = None
    whole_questions: bool = False
    only_repeat: int | None = None

    async def finish(self, loop: Loop) -> Path:
        """Runs every sample that the folder doesn't hold yet, all in one queue, and sums up the folder, whose path
        it returns. ``loop`` makes a sample: its transcript and the work on it. Raises UserError."""
        for model in self.models:
            model.check(self.questions)
        async with self._opened() as folder:
            async with self._running(folder) as kept:
                await run_samples(
                    folder.waiting(), loop, kept.keep, self.limits.samples, self.schedule, self.limits.queue_is_empty
                )
            say("grading")
            summary = await folder.sum_up(self.limits)
        print(metrics.describe(summary))
        if summary["owed"]:
            raise UserError(
                f"{summary['owed']} of {len(folder.keys)} samples failed at the servers; the others are in"
                f" {folder.store.folder}. The same command tries them again"
            )
        return folder.store.folder

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator["OpenFolder"]:
        """The folder, locked, with what is done in it. Raises UserError if it is another run's."""
        array = self.rules.array if self.rules else None
        of_array = array.digest if array else None
        decisive = provenance.decisive(self.settings, command=self.command, calibration=of_array)
        if self.rules and self.rules.kind not in ("marginal", "per_question", "random"):
            decisive["calibration_kind"] = self.rules.kind
        about = {
            "command": self.command,
            "settings": provenance.resolved(self.settings),
            "decisive": decisive,
            "digest": provenance.digest(decisive),
            "calibration": array.provenance if array else None,
            **surroundings(self.models),
        }
        output, extracting = self.settings.output, self.settings.answers.extract_mode == "llm"
        keys: Sequence[Key] = Keys(self.questions, self.settings.samples.repeats)
        if self.only_repeat is not None:
            keys = [key for key in keys if key.repeat == self.only_repeat]
        async with Extractor() if extracting else nullcontext() as extractor:
            with ResultStore(output.output_dir or self.folder, about, output.force) as store:
                done = store.finished(keys)
                if self.whole_questions:
                    incomplete = {key.question.index for key in keys if key.index not in done}
                    done = {key.index for key in keys if key.question.index not in incomplete}
                if done:
                    say(f"{len(done)} of {len(keys)} samples are already in {store.folder}")
                digests = {"settings_digest": about["digest"], "calibration_digest": of_array}
                yield OpenFolder(store, keys, done, digests, extractor, self.rules)

    @asynccontextmanager
    async def _running(self, folder: "OpenFolder") -> AsyncIterator["Kept"]:
        """The limits at work, and where samples go when they end."""
        epoch = time.time() - asyncio.get_running_loop().time()
        with Progress(len(folder.keys), len(folder.done), "sample") as progress:
            async with self.limits:
                yield Kept(folder, self.limits, progress, epoch)


@dataclass(frozen=True)
class OpenFolder:
    """A run's folder while it is open. ``done``: indexes of the samples that it held before."""

    store: ResultStore
    keys: Sequence[Key]
    done: set[int]
    digests: dict[str, str | None]
    extractor: Extractor | None
    rules: RejectionRules | None

    def waiting(self) -> Iterable[Key]:
        """The samples owed, in the order in which they are to be run."""
        owed = (key for key in self.keys if key.index not in self.done)
        if self.rules and self.rules.learns:
            return self.rules.resume(self.store.folder, list(owed))
        return owed

    async def sum_up(self, limits: Limits) -> dict[str, Any]:
        owed = len(self.keys) - len(self.done)
        clock = {"wall_seconds": limits.seconds, "samples_in_wall_seconds": owed, "servers": limits.report()}
        before = self.store.summary()
        if not owed and before.get("samples") == len(self.keys):  # all was done: the clock of that run stands
            clock = {name: before.get(name) for name in clock}
        summary = {**await asyncio.to_thread(metrics.summarise, self.store.folder, self.keys), **clock}
        self.store.save_summary(summary)
        return summary


@dataclass(frozen=True)
class Kept:
    """Where samples go when they end. ``epoch``: what the event loop's clock counts from."""

    folder: OpenFolder
    limits: Limits
    progress: Progress
    epoch: float

    async def keep(self, ended: Ended) -> None:
        reason = ended.reason
        if self.folder.extractor and ended.status not in OWED:  # off the sample's clock
            problem = ended.key.question.problem
            try:
                ended.chain.answer = await self.folder.extractor.final_answer(problem, ended.chain.text)
            except UserError as error:
                reason = f"{error}; the answer is the one found by regex"
                log.warning("%s", reason)
        self.limits.ended(ended.chain)
        digests, started = self.folder.digests, ended.started_at
        content = record(ended.key, ended.chain, ended.status, reason, ended.seconds, digests, started)
        await self.folder.store.save({**content, "started_at": self.epoch + started})
        self.progress.add(ended.status.value)
