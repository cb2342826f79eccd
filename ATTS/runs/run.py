"""One run in three phases, each an async context manager: a method connects to its servers, the folder is opened, what
is owed is run within limits; then the folder is summed up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.analysis import metrics
from ATTS.console import Progress, say, show
from ATTS.errors import UserError
from ATTS.runs.failures import RecentFailures
from ATTS.runs.models import ServedModel, surroundings
from ATTS.runs.parts import RunSettings
from ATTS.runs.rules import RejectionRules
from ATTS.runs.samples import Ended, Loop, Schedule, run_samples
from ATTS.serving.limits import Limits
from ATTS.store import provenance
from ATTS.store.records import OWED, Key, Keys, record
from ATTS.store.result_folder import ResultStore
from ATTS.store.under_way import UnderWay
from ATTS.tasks.datasets import Question
from ATTS.tasks.llm import Extractor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a method runs, with servers that it is connected to. ``folder``: unless --output_dir names one.

    ``whole_questions``: the samples of a question need each other, so all are done again where one is missing.
    ``only_repeat``: no others than this one of every question. ``under_way``: of a method whose samples go on where
    they were interrupted.
    """

    command: str
    settings: RunSettings
    questions: Sequence[Question]
    models: Sequence[ServedModel]
    limits: Limits
    folder: Path
    schedule: Schedule = "queue"
    rules: RejectionRules | None = None
    under_way: UnderWay | None = None
    whole_questions: bool = False
    only_repeat: int | None = None

    async def finish(self, loop: Loop) -> Path:
        """Runs every sample that the folder doesn't hold yet, all in one queue, and sums up the folder, whose path
        it returns. ``loop`` makes a sample: its transcript and the work on it. Raises UserError."""
        for model in self.models:
            model.check(self.questions)
        async with opened(self) as folder:
            with folder.progress:
                async with self.limits as limits:
                    owed = folder.waiting()
                    await run_samples(owed, loop, folder.keep, limits.samples, self.schedule, limits.queue_is_empty)
            if self.under_way:
                self.under_way.close()
            say("grading")
            summary = await folder.sum_up()
        show(metrics.describe(summary))
        if summary["owed"]:
            raise UserError(
                f"{summary['owed']} of {len(folder.keys)} samples failed at the servers; the others are in"
                f" {folder.store.folder}. The same command tries them again"
            )
        self.settings.failures.check(summary["by_status"])
        return folder.store.folder

    def about(self) -> dict[str, Any]:
        """What the folder tells of it."""
        array = self.rules.array if self.rules else None
        decisive = provenance.decisive(self.settings, command=self.command, calibration=array.digest if array else None)
        if self.rules and self.rules.kind not in ("marginal", "per_question", "random"):
            decisive["calibration_kind"] = self.rules.kind
        return {
            "command": self.command,
            "settings": provenance.resolved(self.settings),
            "decisive": decisive,
            "digest": provenance.digest(decisive),
            "calibration": array.provenance if array else None,
            **surroundings(self.models),
        }


@asynccontextmanager
async def opened(run: Run) -> AsyncIterator["OpenFolder"]:
    """The run's folder, locked, with what is done in it. Raises UserError if it is another run's."""
    output, about = run.settings.output, run.about()
    keys: Sequence[Key] = Keys(run.questions, run.settings.samples.repeats)
    if run.only_repeat is not None:
        keys = [key for key in keys if key.repeat == run.only_repeat]
    async with Extractor() if run.settings.answers.extract_mode == "llm" else nullcontext() as extractor:
        with ResultStore(output.output_dir or run.folder, about, output.force) as store:
            done = store.finished(keys)
            if run.whole_questions:
                incomplete = {key.question.index for key in keys if key.index not in done}
                done = {key.index for key in keys if key.question.index not in incomplete}
            if done:
                say(f"{len(done)} of {len(keys)} samples are already in {store.folder}")
            digests = {"settings_digest": about["digest"], "calibration_digest": about["decisive"]["calibration"]}
            yield OpenFolder(run, store, keys, done, digests, extractor)


class OpenFolder:
    """A run's folder while it is open. ``done``: indexes of the samples that it held before."""

    def __init__(
        self,
        run: Run,
        store: ResultStore,
        keys: Sequence[Key],
        done: set[int],
        digests: dict[str, str | None],
        extractor: Extractor | None,
    ) -> None:
        self.run, self.store, self.keys, self.done = run, store, keys, done
        self.progress = Progress(len(keys), len(done), "sample")
        self._digests, self._extractor = digests, extractor
        self._recent = RecentFailures(run.settings.failures)
        self._epoch = time.time() - asyncio.get_running_loop().time()

    def waiting(self) -> Iterable[Key]:
        """The samples owed, in the order in which they are to be run."""
        rules, under_way = self.run.rules, self.run.under_way
        decided: list[tuple[int, dict[str, Any]]] = []
        if under_way is not None:
            under_way.open(self.store.folder, self._digests, self._owed())
            decided = under_way.decided()
        return rules.resume(self.store.folder, list(self._owed()), decided) if rules and rules.learns else self._owed()

    def _owed(self) -> Iterable[Key]:
        return (key for key in self.keys if key.index not in self.done)

    async def keep(self, ended: Ended) -> None:
        """Writes a sample when it ends."""
        reason, under_way = ended.reason, self.run.under_way
        earlier = under_way.earlier(ended.key) if under_way else 0.0
        started = ended.started_at - earlier
        if self._extractor and ended.status not in OWED:  # off the sample's clock
            problem = ended.key.question.problem
            try:
                ended.chain.answer = await self._extractor.final_answer(problem, ended.chain.text)
            except UserError as error:
                reason = f"{error}; the answer is the one found by regex"
                log.warning("%s", reason)
        self.run.limits.ended(ended.chain)
        content = record(ended.key, ended.chain, ended.status, reason, ended.seconds + earlier, self._digests, started)
        await self.store.save({**content, "started_at": self._epoch + started})
        if under_way:
            under_way.ended(ended.key, ended.goes_on)
        self.progress.add(ended.status.value)
        self._recent.add(ended.status, ended.reason)

    async def sum_up(self) -> dict[str, Any]:
        limits, owed = self.run.limits, len(self.keys) - len(self.done)
        clock = {"wall_seconds": limits.seconds, "samples_in_wall_seconds": owed, "servers": limits.report()}
        before = self.store.summary()
        if not owed and before.get("samples") == len(self.keys):  # all was done: the clock of that run stands
            clock = {name: before.get(name) for name in clock}
        summary = {**await asyncio.to_thread(metrics.summarise, self.store.folder, self.keys), **clock}
        self.store.save_summary(summary)
        return summary
