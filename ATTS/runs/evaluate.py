"""Evaluation runs: settings in, a folder of samples and a summary out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ATTS.console import say
from ATTS.method.chain import Chain, ModelView
from ATTS.method.loop import alone, atts
from ATTS.method.take_over import ByScore
from ATTS.published import Author, PublishedChain, published
from ATTS.runs import certified, models, names, rules
from ATTS.runs.confidence import Confidence, asked
from ATTS.runs.models import ChunkModel
from ATTS.runs.questions import to_evaluate
from ATTS.runs.rules import LEARNING, RejectionRules
from ATTS.runs.run import Run
from ATTS.runs.samples import Sample
from ATTS.runs.settings import AsyncSettings, BaselineSettings
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.limits import Limits
from ATTS.serving.server_info import new_session
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
    confidence: Mapping[str, Confidence]  # by role, of the models that are asked
    under_way: UnderWay = field(default_factory=UnderWay)

    def sample(self, key: Key) -> Sample:
        """A sample's chain and the work on it."""
        s, question, rule = self.settings, key.question, self.rules[key]
        answers, turns = s.answers.reader(), s.samples.turns
        if s.scoring.compat == "published":
            first, second = (
                Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (self.draft, self.target)
            )
            published_chain = PublishedChain(question.prompt, first, second, s.scoring.use_chat_template, answers)
            return published_chain, published(published_chain, rule, turns)
        journal = self.under_way.chain(key)
        d, t = _reader(self.draft, key, journal), _reader(self.target, key, journal)
        rule = journal.rule(rule, self.rules.learns)
        chain = Chain(answers, d, t, score=s.scoring.measure, token_budget=s.text_limit)
        loop = atts(chain, d, t, ByScore(rule, s.scoring.policy), s.most_turns, s.limits.optimistic)
        views = [(self.confidence[role], d if role == "draft" else t) for role in s.voting.asked]
        return chain, asked(chain, loop, question, views)


def _reader(served: ChunkModel, key: Key, journal: ChainJournal) -> ModelView:
    """The model's view of a chain that may have been begun before."""
    view = served.reader(key.question)
    view.model = journal.model(view.model, served.model.role)
    return view


@asynccontextmanager
async def connected(settings: AsyncSettings, decides: RejectionRules) -> AsyncIterator[Atts]:
    """Both servers, asked what they are, with limits on requests. Raises UserError."""
    draft, target, in_flight = settings.draft, settings.target, settings.limits
    more = round(settings.scoring.rejection_rate * target.max_tokens)
    longest = settings.samples.longest(draft.max_tokens + more)
    if settings.scoring.on_rejection == "resample":
        longest = settings.text_limit
    async with new_session(settings.requests.request_timeout) as session:
        limits = Limits(in_flight.samples, longest, settings.requests.request_timeout)
        slots, seats = limits.gate(in_flight.draft), limits.gate(in_flight.target)
        scoring = CapacityLimiter(in_flight.scoring) if in_flight.scoring else None
        first = await models.draft(session, draft, settings.requests, slots)
        template = settings.scoring.use_chat_template
        second = await models.target(session, target, settings.requests, seats, template, scoring)
        limits.add(first.model, slots, first.memory, adaptive=in_flight.draft == 0)
        limits.add(second.model, seats, second.memory, adaptive=in_flight.target == 0)
        models.say_how_they_think([first, second], settings.answers.answer_after_think)
        roles = {"draft": first, "target": second}
        confidence = {role: Confidence.of(roles[role]) for role in settings.voting.asked}
        yield Atts(settings, decides, first, second, limits, confidence)


async def evaluate_async(settings: AsyncSettings, per_question: bool) -> Path:
    """ref_async and ref_async_per_question. Returns the result folder. Raises UserError."""
    settings, certificate = certified.applied(settings, per_question)
    questions = to_evaluate(settings.data)
    decides = rules.make(settings, per_question, questions)
    if certificate is not None:
        certified.check(settings, certificate, questions, decides.array)
    per_question = per_question or decides.kind == "per_question"
    if settings.voting.stop != "none" and decides.kind in LEARNING:
        say(
            f"warning: with --stop {settings.voting.stop} answers decide which samples are run, and with --calibration"
            f" {decides.kind} those decide about later ones: what it promises is not shown for the two together"
        )
    async with connected(settings, decides) as method:
        command, both = "ref_async_per_question" if per_question else "ref_async", [method.draft, method.target]
        folder, schedule = names.async_results(settings, per_question), settings.limits.schedule
        run = Run(
            *(command, settings, questions, both, method.limits, folder, schedule, decides),
            under_way=method.under_way,
            voting=settings.voting,
        )
        return await run.finish(method.sample)


@dataclass(frozen=True)
class Alone:
    """Makes samples of one model alone."""

    settings: BaselineSettings
    model: ChunkModel
    confidence: Confidence | None = None
    under_way: UnderWay = field(default_factory=UnderWay)

    def sample(self, key: Key) -> Sample:
        """A sample's chain and the work on it."""
        reader = _reader(self.model, key, self.under_way.chain(key))
        chain = Chain(self.settings.answers.reader(), reader, token_budget=self.settings.samples.token_budget)
        views = [(self.confidence, reader)] if self.confidence else []
        return chain, asked(chain, alone(chain, reader, self.settings.samples.turns), key.question, views)


async def evaluate_alone(settings: BaselineSettings, role: str = "model") -> Path:
    """baseline: one model alone; ``role`` is what messages call it, draft or target where it is one of a pair.
    Returns the result folder. Raises UserError."""
    s = settings
    questions = to_evaluate(s.data)
    async with new_session(s.requests.request_timeout) as session:
        limits = Limits(s.limits.samples, s.samples.longest(s.draft.max_tokens), s.requests.request_timeout)
        slots = limits.gate(s.limits.draft)
        model = await models.draft(session, s.draft, s.requests, slots, role)
        limits.add(model.model, slots, model.memory, adaptive=s.limits.draft == 0)
        models.say_how_they_think([model], s.answers.answer_after_think)
        method = Alone(s, model, Confidence.of(model) if s.voting.asked else None)
        run = Run(
            *("baseline", s, questions, [model], limits, names.baseline_results(s), s.limits.schedule),
            under_way=method.under_way,
            voting=s.voting,
        )
        return await run.finish(method.sample)
