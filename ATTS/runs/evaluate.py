"""Evaluation runs: settings in, a folder of samples and a summary out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ATTS.method.chain import Chain, ModelView
from ATTS.method.loop import alone, atts
from ATTS.method.take_over import ByScore
from ATTS.published import Author, PublishedChain, published
from ATTS.runs import certified, models, names, questions, rules
from ATTS.runs.models import ChunkModel
from ATTS.runs.rules import RejectionRules
from ATTS.runs.run import Run
from ATTS.runs.samples import Sample
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import new_session
from ATTS.serving.limits import Limits
from ATTS.store.records import Key
from ATTS.store.under_way import ChainJournal, UnderWay


@dataclass(frozen=True)
class Atts:
    """Makes samples of the loop, with servers that it is connected to."""

    settings: AsyncSettings
    rules: RejectionRules
    draft: ChunkModel
    target: ChunkModel
    limits: Limits
    under_way: UnderWay = field(default_factory=UnderWay)

    def sample(self, key: Key) -> Sample:
        s, question, rule = self.settings, key.question, self.rules[key]
        answers, turns = s.answers.reader(), s.samples.turns
        if s.scoring.compat == "published":
            first, second = (
                Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (self.draft, self.target)
            )
            told = PublishedChain(question.prompt, first, second, s.scoring.use_chat_template, answers)
            return told, published(told, rule, turns)
        journal = self.under_way.chain(key)
        d, t = _reader(self.draft, key, journal), _reader(self.target, key, journal)
        rule = journal.rule(rule, self.rules.learns)
        chain = Chain(answers, d, t, score=s.scoring.measure, token_budget=s.text_limit)
        return chain, atts(chain, d, t, ByScore(rule, s.scoring.policy), s.most_turns, s.limits.optimistic)


def _reader(party: ChunkModel, key: Key, journal: ChainJournal) -> ModelView:
    """The model's view of a chain that may have been begun before."""
    made = party.reader(key.question)
    made.model = journal.model(made.model, party.model.role)
    return made


@asynccontextmanager
async def connected(settings: AsyncSettings, decides: RejectionRules) -> AsyncIterator[Atts]:
    """Both servers, asked what they are, with limits on requests. Raises UserError."""
    draft, target, in_flight = settings.draft, settings.target, settings.limits
    more = round(settings.scoring.rejection_rate * target.max_tokens)
    longest = settings.samples.longest(draft.max_tokens + more)
    if settings.scoring.on_rejection == "resample":
        longest = settings.text_limit
    async with new_session(settings.requests.request_timeout) as session:
        limits = Limits(in_flight.samples, longest)
        slots, seats = limits.gate(in_flight.draft), limits.gate(in_flight.target)
        scoring = CapacityLimiter(in_flight.scoring) if in_flight.scoring else None
        first = await models.draft(session, draft, settings.requests, slots)
        template = settings.scoring.use_chat_template
        second = await models.target(session, target, settings.requests, seats, template, scoring)
        limits.add(first.model, slots, first.memory, adaptive=in_flight.draft == 0)
        limits.add(second.model, seats, second.memory, adaptive=in_flight.target == 0)
        yield Atts(settings, decides, first, second, limits)


async def evaluate_async(settings: AsyncSettings, per_question: bool) -> Path:
    """ref_async and ref_async_per_question. Returns the result folder. Raises UserError."""
    settings, certificate = certified.applied(settings, per_question)
    asked = questions.to_evaluate(settings.data)
    decides = rules.make(settings, per_question, asked)
    if certificate is not None:
        certified.check(settings, certificate, asked, decides.array)
    per_question = per_question or decides.kind == "per_question"
    async with connected(settings, decides) as method:
        command, both = "ref_async_per_question" if per_question else "ref_async", [method.draft, method.target]
        folder, schedule = names.async_results(settings, per_question), settings.limits.schedule
        run = Run(command, settings, asked, both, method.limits, folder, schedule, decides, method.under_way)
        return await run.finish(method.sample)


@dataclass(frozen=True)
class Alone:
    """Makes samples of one model alone."""

    settings: BaselineSettings
    model: ChunkModel
    under_way: UnderWay = field(default_factory=UnderWay)

    def sample(self, key: Key) -> Sample:
        reader = _reader(self.model, key, self.under_way.chain(key))
        chain = Chain(self.settings.answers.reader(), reader, token_budget=self.settings.samples.token_budget)
        return chain, alone(chain, reader, self.settings.samples.turns)


async def evaluate_alone(settings: BaselineSettings) -> Path:
    """baseline: one model alone. Returns the result folder. Raises UserError."""
    s = settings
    asked = questions.to_evaluate(s.data)
    async with new_session(s.requests.request_timeout) as session:
        limits = Limits(s.limits.samples, s.samples.longest(s.draft.max_tokens))
        slots = limits.gate(s.limits.draft)
        model = await models.draft(session, s.draft, s.requests, slots)
        limits.add(model.model, slots, model.memory, adaptive=s.limits.draft == 0)
        method, folder, schedule = Alone(s, model), names.baseline_results(s), s.limits.schedule
        run = Run("baseline", s, asked, [model], limits, folder, schedule, under_way=method.under_way)
        return await run.finish(method.sample)
