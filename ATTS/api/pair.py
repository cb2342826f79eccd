"""The pair at work: every choice of every request is samples of the loop, all in one queue."""

import asyncio
import functools
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from ATTS.api.cost import Cost
from ATTS.api.metrics import Metrics
from ATTS.api.problems import Busy, PairFailed, Unavailable
from ATTS.api.prompts import Prompts
from ATTS.api.settings import ServeSettings, at
from ATTS.api.text import Visible, Watched
from ATTS.api.vote import Naming
from ATTS.errors import ExitStatus, SampleError, UserError
from ATTS.method.chain import Chain, ModelView
from ATTS.method.loop import atts
from ATTS.method.take_over import ByScore
from ATTS.runs import certified, rules
from ATTS.runs.evaluate import Atts, connected
from ATTS.runs.models import ChunkModel
from ATTS.runs.rules import RejectionRules
from ATTS.serving import affinity
from ATTS.serving.capacity import QUEUE_POSITION
from ATTS.store.records import Key
from ATTS.tasks.datasets import Question
from ATTS.votes import stop
from ATTS.votes.stop import StopName
from ATTS.votes.vote import Ballot

CUT = (ExitStatus.TURN_LIMIT, ExitStatus.BUDGET_SPENT, ExitStatus.CONTEXT_FULL)  # the text could have gone on
FAILED = (ExitStatus.SERVER_FAILED, ExitStatus.SCORE_FAILED, ExitStatus.UNKNOWN_CHARACTER)
Emit = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One choice of a request. None: as the server's flags say."""

    prompts: Prompts
    rate: float
    turns: int
    samples: int = 1
    stop_rule: StopName = "majority"  # when the samples that ended are enough
    stop_threshold: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Sampled:
    """One sample at its end; ``tokens`` of the text that stands."""

    text: str
    status: ExitStatus
    reason: str | None
    answer: str | None
    tokens: int


@dataclass(frozen=True)
class Choice:
    """What a client gets: a sample's text, and how it was chosen."""

    sample: Sampled
    votes: int  # samples with the same answer
    samples: int  # that were run to their end
    cost: Cost = field(repr=False)

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """As the API says it."""
        return "length" if self.sample.status in CUT else "stop"


class Pair:
    """Both servers, the rules by rejection rate, and the queue."""

    def __init__(self, settings: ServeSettings, method: Atts, by_rate: dict[float, RejectionRules]) -> None:
        self.settings, self.run, self.limits = settings, method.settings, method.limits
        self.draft, self.target = method.draft, method.target
        self.metrics = Metrics(lambda: self.limits.samples.waiting, lambda: self.limits.samples.inside)
        self._by_rate, self._naming = by_rate, Naming()
        self._run = functools.lru_cache(maxsize=64)(functools.partial(at, self.run))
        self._places, self._requests, self._names = itertools.count(), itertools.count(), itertools.count()
        self._admitted = 0  # samples that have not ended
        self._seconds: deque[float] = deque(maxlen=100)  # of the newest samples, without waiting

    def start(self, wanted: Sequence[Wanted], emit: Callable[[int, str], None]) -> "asyncio.Task[list[Choice]]":
        """Begins on the choices of a request; whoever awaits them cancels the task to give them up. ``emit`` gets the
        number of a choice and each new part of its text. Raises Busy if the queue has no room."""
        count = sum(one.samples for one in wanted)
        limit = self.limits.samples.limit
        if self._admitted and self._admitted + count > limit + self.settings.http.max_queue:
            raise Busy(
                f"{self._admitted} samples are under way or waiting, and {self.settings.http.max_queue} may wait: try"
                " again later",
                self._retry_after(),
            )
        self._admitted += count
        number = next(self._requests)
        task = asyncio.create_task(self._answer(wanted, number, emit))

        def ended(_: object) -> None:
            self._admitted -= count

        task.add_done_callback(ended)
        return task

    def _retry_after(self) -> int:
        """Seconds until the samples that are too many now have gone, if they take as long as the newest did."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 1.0
        rounds = self.limits.samples.waiting / max(1, self.limits.samples.limit)
        return min(60, max(1, math.ceil(mean * rounds)))

    async def _answer(self, wanted: Sequence[Wanted], number: int, emit: Callable[[int, str], None]) -> list[Choice]:
        def to(index: int) -> Emit:
            return lambda text: emit(index, text)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._choice(one, Key(Question(_seed(one, number), "", ""), index, 1), to(index)))
                    for index, one in enumerate(wanted)
                ]
        except BaseExceptionGroup as errors:
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        return [task.result() for task in tasks]

    async def _choice(self, wanted: Wanted, key: Key, emit: Emit) -> Choice:
        """One choice, by vote if it has several samples; then its text is emitted at the end."""
        cost = Cost()
        if wanted.samples == 1:
            sampled = await self._sample(wanted, key, cost, emit)
            if sampled.status in FAILED:
                raise PairFailed(f"{sampled.status.value}: {sampled.reason}")
            return Choice(sampled, int(sampled.answer is not None), 1, cost)
        rule, name = stop.rule(wanted.stop_rule, wanted.stop_threshold), self._naming.of_a_vote()
        ended: asyncio.Queue[Sampled] = asyncio.Queue()
        finished: list[Sampled] = []
        ballots: list[Ballot] = []

        async def one(place: int) -> None:
            own = Key(key.question, key.repeat * wanted.samples + place, 1)
            ended.put_nowait(await self._sample(wanted, own, cost, lambda _: None))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(place)) for place in range(wanted.samples)]
            for _ in tasks:
                finished.append(sampled := await ended.get())
                ballots.append(Ballot(None if sampled.answer is None else await name(sampled.answer)))
                if rule(ballots, wanted.samples) is not None:
                    for task in tasks:
                        task.cancel()
                    break
        return self._elected(stop.outcome(rule, ballots).answer, finished, ballots, cost, emit)

    def _elected(
        self, answer: str | None, finished: Sequence[Sampled], ballots: Sequence[Ballot], cost: Cost, emit: Emit
    ) -> Choice:
        """The first sample that gave the answer; without an answer, the first that didn't fail. Raises PairFailed."""
        voters = [one for one, ballot in zip(finished, ballots, strict=True) if ballot.vote == answer]
        good = [one for one in voters if one.status not in FAILED]
        if not good:
            first = finished[0]
            raise PairFailed(f"all samples failed, one of them: {first.status.value}: {first.reason}")
        emit(good[0].text)
        return Choice(good[0], 0 if answer is None else len(voters), len(finished), cost)

    async def _sample(self, wanted: Wanted, key: Key, cost: Cost, emit: Emit) -> Sampled:
        """One sample of the loop, from the queue to its end."""
        QUEUE_POSITION.set(next(self._places))
        clock = asyncio.get_running_loop().time
        async with self.limits.samples:
            began = clock()
            visible = Visible(wanted.stop, emit)
            run = self._run(wanted.rate, wanted.turns)
            draft = self._view(self.draft, wanted.prompts.draft, wanted.prompts.draft, wanted, key)
            target = self._view(self.target, wanted.prompts.target, wanted.prompts.scoring, wanted, key)
            find = self.run.answers.reader()

            def answer(text: str, ended: bool) -> str | None:
                return find(text, ended) if visible.cut(text) is None else ""

            most = min(filter(None, (run.text_limit, wanted.max_tokens)), default=0)
            chain = Chain(answer, draft, target, score=run.scoring.measure, token_budget=most)
            rule = Watched(ByScore(self._by_rate[wanted.rate][key], run.scoring.policy), chain, visible)
            reason = None
            try:
                # The samples of a request share its prompt.
                with affinity.chain(f"r{next(self._names)}", str(hash(tuple(wanted.prompts.draft)))):
                    status = await atts(chain, draft, target, rule, run.most_turns, run.limits.optimistic)
            except SampleError as error:
                status, reason = error.status, str(error)
            except UserError as error:  # a server has gone
                raise Unavailable(str(error)) from None
            finally:
                spent = Cost.of(chain)
                cost.add(spent)
                self.metrics.sample(chain, spent)
            self.limits.ended(chain)
            self._seconds.append(clock() - began)
        # A chunk that nobody could rule on any more is no part of the text.
        text = visible.settled if status is ExitStatus.CONTEXT_FULL or status in FAILED else chain.text
        visible.grow(text, whole=True)
        found = chain.answer if visible.text == chain.text else find(visible.text, True)
        return Sampled(visible.text, status, reason, None if status in FAILED else found, spent.kept_tokens)

    def _view(
        self, model: ChunkModel, writing: Sequence[int], scoring: Sequence[int], wanted: Wanted, key: Key
    ) -> ModelView:
        parameters: dict[str, float] = {}
        if wanted.top_p is not None:
            parameters["top_p"] = wanted.top_p
        if wanted.seed is not None and not model.model.info.continues_always:  # releases before 0.5 know no seed
            parameters["sampling_seed"] = wanted.seed + key.repeat
        served = model.model.sampling(**parameters) if parameters else model.model
        temperature = model.temperature if wanted.temperature is None else wanted.temperature
        return ModelView(served, model.tokenizer, writing, scoring, model.max_tokens, temperature, memory=model.memory)

    async def missing(self) -> list[str]:
        """The servers that don't answer."""
        models = (self.draft.model, self.target.model)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(model.gone()) for model in models]
        return [
            f"the {one.role} server at {' / '.join(one.urls)}"
            for one, task in zip(models, tasks, strict=True)
            if task.result()
        ]

    def close(self) -> None:
        """Ends the processes that compare answers."""
        self._naming.close()


def _seed(wanted: Wanted, number: int) -> int:
    """What a random take-over is drawn by."""
    return number if wanted.seed is None else wanted.seed


@asynccontextmanager
async def opened(settings: ServeSettings) -> AsyncIterator[Pair]:
    """The pair, connected, with a rule for each rate that requests may ask for. Raises UserError."""
    run, certificate = certified.applied(settings.run, False)
    rates = {run.scoring.rejection_rate} | {e.rate for e in settings.efforts.values() if e.rate is not None}
    by_rate = {rate: rules.make(at(run, rate, run.samples.turns), False, ()) for rate in sorted(rates)}
    decides = by_rate[run.scoring.rejection_rate]
    if certificate is not None:
        certified.check(run, certificate, (), decides.array)
    async with connected(run, decides) as method:
        pair = Pair(settings, method, by_rate)
        try:
            async with method.limits:
                yield pair
        finally:
            pair.close()
