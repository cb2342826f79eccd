"""One run in three phases, each an async context manager: a method connects to its servers, the folder is opened, what
is owed is run within limits; then the folder is summed up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ATTS.analysis import metrics
from ATTS.analysis.grading import answered
from ATTS.console import say, show
from ATTS.errors import ExitStatus, UserError
from ATTS.flags import flat
from ATTS.progress.counts import RunProgress
from ATTS.runs.failures import RecentFailures
from ATTS.runs.models import ServedModel, surroundings
from ATTS.runs.parts import RunSettings
from ATTS.runs.rules import RejectionRules
from ATTS.runs.samples import Ended, Loop, Schedule, run_samples
from ATTS.runs.stopping import Said, Stopping
from ATTS.runs.voting import Voting
from ATTS.serving.limits import Limits
from ATTS.store import provenance, shards
from ATTS.store.records import OWED, Digests, HistoryEntry, Key, Keys, Record, confidence, record
from ATTS.store.result_folder import ResultStore, samples
from ATTS.store.shards import ShardStore
from ATTS.store.summary import Clock, Summary
from ATTS.store.under_way import UnderWay
from ATTS.tasks.datasets import Question
from ATTS.tasks.equivalence import Grader, Verdict, compare_quickly
from ATTS.tasks.llm import Extractor
from ATTS.votes.labels import Labels

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
    voting: Voting | None = None

    async def finish(self, loop: Loop) -> Path:
        """Runs every sample that the folder doesn't hold yet, all in one queue, and sums up the folder, whose path
        it returns. ``loop`` makes a sample: its transcript and the work on it. Raises UserError."""
        for model in self.models:
            model.check(self.questions)
        async with opened(self) as folder:
            async with folder.progress, self.limits as limits:
                with folder.stopping() as (owed, stop):
                    empty, watched = limits.queue_is_empty, folder.progress.watched(loop)
                    await run_samples(owed, watched, folder.keep, limits.samples, self.schedule, empty, stop)
            if self.under_way:
                self.under_way.close()
            say("grading")
            summary = await folder.sum_up()
        show(metrics.describe(summary))
        if folder.store.shard:
            say(f"{folder.store.shard} of the run: python -m ATTS.merge joins all of them")
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
    every: Sequence[Key] = Keys(run.questions, run.settings.samples.repeats)
    if run.only_repeat is not None:
        every = [key for key in every if key.repeat == run.only_repeat]
    keys, part, folder = run.settings.sharding.own(every), run.settings.sharding.part, output.output_dir or run.folder
    async with Extractor() if run.settings.answers.extract_mode == "llm" else nullcontext() as extractor:
        with (
            ShardStore(folder, output.force, shards.describe(part, keys, every, about))
            if part
            else ResultStore(folder, about, output.force)
        ) as store:
            done = store.finished(keys)
            if run.whole_questions:
                incomplete = {key.question.index for key in keys if key.index not in done}
                done = {key.index for key in keys if key.question.index not in incomplete}
            if done:
                say(f"{len(done)} of {len(keys)} samples are already in {store.folder}")
            digests: Digests = {
                "settings_digest": about["digest"],
                "calibration_digest": about["decisive"]["calibration"],
            }
            yield OpenFolder(run, store, keys, done, digests, extractor)


class OpenFolder:
    """A run's folder while it is open. ``done``: indexes of the samples that it held before."""

    def __init__(
        self,
        run: Run,
        store: ResultStore,
        keys: Sequence[Key],
        done: set[int],
        digests: Digests,
        extractor: Extractor | None,
    ) -> None:
        self.run, self.store, self.keys, self.done = run, store, keys, done
        given = flat(run.settings)
        asked = given.get("rejection_rate") if run.rules else None
        most_turns = given.get("turns") if given.get("on_rejection") != "resample" else None
        self.progress = RunProgress(
            *(store.folder, len(keys), len(done), run.limits, most_turns, asked, run.settings.output.quiet),
            shard=store.shard,
        )
        self._digests, self._extractor = digests, extractor
        self._recent = RecentFailures(run.settings.failures)
        self._epoch = time.time() - asyncio.get_running_loop().time()

    def waiting(self) -> Iterable[Key]:
        """The samples owed, in the order in which they are to be run."""
        rules, under_way = self.run.rules, self.run.under_way
        decided: list[tuple[int, HistoryEntry]] = []
        if under_way is not None:
            under_way.open(self.store.folder, self._digests, self._owed(), self.keys if self.store.shard else None)
            decided = under_way.decided()
        return rules.resume(self.store.folder, list(self._owed()), decided) if rules and rules.learns else self._owed()

    def _owed(self) -> Iterable[Key]:
        return (key for key in self.keys if key.index not in self.done)

    @contextmanager
    def stopping(self) -> Iterator[tuple[Iterable[Key], Stopping | None]]:
        """The samples owed, and what tells which of them need not be run (None: all need)."""
        owed, voting = self.waiting(), self.run.voting
        if voting is None or voting.stop == "none":
            yield owed, None
            return
        ended = [s for s in samples(self.store.folder) if s["problem_index"] in self.done] if self.done else []
        stopped = {s["question_index"] for s in ended if s["exit_status"] == ExitStatus.STOPPED}
        said = [self._said(s) for s in ended if s["exit_status"] != ExitStatus.STOPPED]
        with Grader() as grader:
            labels = Labels(grader)

            async def label(question: int, answer: str) -> str:
                return await asyncio.to_thread(labels, question, answer)

            stop = Stopping(voting.rule, owed, label, said, stopped)
            yield stop.owed, stop

    def _said(self, sample: Record) -> Said:
        """What a sample of an earlier run comes to."""
        ended_at = sample["started_at"] - self._epoch + sample["duration_seconds"]
        answer = str(sample["final_answer"]) if answered(sample) else None
        return Said(sample["question_index"], sample["problem_index"], ended_at, answer, self._confidence(sample))

    def _confidence(self, sample: Record) -> float | None:
        """To vote by."""
        asked = self.run.voting.asked if self.run.voting else ()
        return confidence(sample, asked[0]) if asked else None

    async def keep(self, ended: Ended) -> float | None:
        """Writes a sample when it ends. Returns the confidence in its answer, if a model was asked."""
        reason, under_way = ended.reason, self.run.under_way
        earlier = under_way.earlier(ended.key) if under_way else 0.0
        started = ended.started_at - earlier
        if self._extractor and ended.status not in (*OWED, ExitStatus.STOPPED):  # off the sample's clock
            problem = ended.key.question.problem
            try:
                ended.chain.answer = await self._extractor.final_answer(problem, ended.chain.text)
            except UserError as error:
                reason = f"{error}; the answer is the one found by regex"
                log.warning("%s", reason)
        if ended.status is not ExitStatus.STOPPED:  # others are shorter than they would have been
            self.run.limits.ended(ended.chain)
        content = record(ended.key, ended.chain, ended.status, reason, ended.seconds + earlier, self._digests, started)
        await self.store.save({**content, "started_at": self._epoch + started})
        if under_way:
            under_way.ended(ended.key, ended.goes_on)
        self.progress.ended(ended.key, ended.status, _right(content))
        self._recent.add(ended.status, ended.reason)
        return self._confidence(content)

    async def sum_up(self) -> Summary:
        """What the folder amounts to now, written there."""
        limits, owed, before = self.run.limits, len(self.keys) - len(self.done), self.store.summary()
        clock: Clock = {
            "wall_seconds": limits.seconds,
            "samples_in_wall_seconds": owed,
            "servers": limits.report(),
        }
        if not owed and before and before["samples"] == len(self.keys):  # all was done: the clock of that run stands
            clock = {
                "wall_seconds": before["wall_seconds"],
                "samples_in_wall_seconds": before["samples_in_wall_seconds"],
                "servers": before["servers"],
            }
        amount = await asyncio.to_thread(metrics.summarise, self.store.folder, self.keys)
        summary: Summary = {**amount, **clock}
        self.store.save_summary(summary)
        return summary


def _right(sample: Record) -> bool | None:
    """Whether its answer is right; None where notation alone can't tell, or no answer was owed."""
    if sample["exit_status"] in (*OWED, ExitStatus.STOPPED):
        return None
    if not answered(sample):
        return False
    verdict = compare_quickly(sample["reference_answer"], str(sample["final_answer"]))
    return None if verdict is None else verdict is Verdict.EQUAL
