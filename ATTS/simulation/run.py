"""Runs on a virtual clock: the production loop, queue and limits against emulated servers."""

import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tyro.conf import Suppress

from ATTS.analysis.timing import covered
from ATTS.emulator.engine import Engine
from ATTS.emulator.timing import Timing
from ATTS.errors import ExitStatus
from ATTS.flags import Part, Positive, Share
from ATTS.method.barrier import Barrier
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import Decision
from ATTS.method.loop import alone, atts
from ATTS.method.take_over import ByScore, OnRejection, RejectionPolicy, TakeOver
from ATTS.method.types import Event, Stage, Transcript
from ATTS.runs.parts import Requests
from ATTS.runs.samples import Ended, Schedule, run_samples
from ATTS.runs.stopping import Stopping
from ATTS.serving.limits import Limits
from ATTS.simulation import virtual
from ATTS.simulation.inprocess import Replica, Replicas
from ATTS.simulation.lockstep import Lockstep
from ATTS.simulation.script import Chunk, Script, Turn
from ATTS.store.records import Key, Keys, round_by_round
from ATTS.tasks.datasets import Question

FindAnswer = Callable[[str, bool], str | None]
NOTHING = 1e-6  # seconds that are rounding


class Workload(Part):
    """Chains to be drawn: how long they are and what their chunks score. Lengths are geometric, cut at
    the limits; a chunk holds the answer with a probability that depends on the question."""

    questions: Positive[int]
    """Questions."""

    samples: Positive[int]
    """Samples of every question."""

    turns: Positive[int]
    """Most turns of a sample."""

    draft_tokens: Positive[int] = 500
    """Most tokens of a draft chunk."""

    target_tokens: Positive[int] = 500
    """Most tokens of a target chunk."""

    prompt_tokens: Positive[int] = 150
    """Tokens of a question."""

    rejection_rate: Share[float] = 0.4
    """Share of chunks that the target continues."""

    on_rejection: OnRejection = "continue"
    """What becomes of a rejected chunk: the target continues behind it, or writes in its place (resample). The
    texts are the same, so a chain has more turns with resample."""

    answers: Share[float] = 0.3
    """Mean chance of a turn to end its chain; 0 = every chain takes all turns."""

    full: Suppress[float] = 0.75  # share of chunks that are cut at the limit; the others are of any length below

    seed: int = 0
    """Draws the chains."""

    def script(self, by_target_alone: bool = False) -> tuple[Script, list[Chunk]]:
        """All samples, and the questions. What is decided about a chunk is fixed beforehand.

        The chains are the same texts whoever writes them. ``by_target_alone``: all of their chunks by one author.
        With ``on_rejection`` "resample" each chunk takes a turn of its own, in which the draft writes it or, at the
        rejection rate, one of the same length that is discarded, so that the target writes it.
        """
        dice, coin = random.Random(self.seed), random.Random(f"{self.seed}-coin")
        script = Script()
        questions = []
        for number in range(self.questions):
            question = Chunk(f"question {number}", self.prompt_tokens)
            questions.append(question)
            # Hard and easy questions: the chance is spread so that a few chains run to the last turn.
            chance = min(1.0, self.answers * dice.expovariate(1.0)) if self.answers else 0.0
            for sample in range(self.samples):
                turns: list[Turn] = []
                for turn in range(self.turns):
                    name = f"{number}.{sample}.{turn}"
                    ends = dice.random() < chance
                    rejected = dice.random() < self.rejection_rate
                    draft = self._chunk(dice, f"draft {name}", self.draft_tokens, ends and not rejected)
                    more = self._chunk(dice, f"target {name}", self.target_tokens, ends) if rejected else None
                    if by_target_alone or self.on_rejection == "resample":
                        turns += [Turn(chunk, 1.1, None) for chunk in (draft, more) if chunk is not None]
                    else:
                        turns.append(Turn(draft, 2.0 if rejected else 1.1, more))
                    if ends:
                        break
                if self.on_rejection == "resample" and not by_target_alone:
                    turns = [self._replaced(turn, coin) for turn in [*turns[:-1], _answering(turns[-1])]]
                script.add(question, turns)
        return script, questions

    def _replaced(self, turn: Turn, coin: random.Random) -> Turn:
        if coin.random() >= self.rejection_rate:
            return turn
        return Turn(Chunk(f"instead of {turn.draft.text}, ", turn.draft.tokens), 2.0, turn.draft, replaces=True)

    def _chunk(self, dice: random.Random, name: str, most: int, answers: bool) -> Chunk:
        tokens = most if dice.random() < self.full else dice.randint(1, most)
        return Chunk(f"{name} {BOX}" if answers else name, tokens)


BOX = r"\boxed{1}"


def _answering(turn: Turn) -> Turn:
    """The last turn of a chain, which is over there: no limit on turns ends it where chunks are replaced."""
    if turn.draft.text.endswith(BOX):
        return turn
    return Turn(Chunk(f"{turn.draft.text} {BOX}", turn.draft.tokens), turn.perplexity, None)


def find_box(text: str, ended: bool) -> str | None:  # noqa: ARG001
    """The answer of an emulated chain; None if there is none."""
    return "1" if text.endswith(BOX) else None


def judge(score: float, turn: int = 0) -> Decision:  # noqa: ARG001
    """Drawn chains hold their decisions in their scores."""
    return Decision(score / 4, score > 1.5)


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    """How a simulated run is driven. Limits: 0 = adaptive."""

    draft_limit: int = 0
    target_limit: int = 0
    draft_replicas: int = 1  # servers, each as its timing says; limits are of each
    target_replicas: int = 1
    samples_in_flight: int = 0
    schedule: Schedule = "queue"
    rounds: bool = False  # the first repeat of every question, then the second, as runs that learn on the way
    barrier: bool = False  # in every turn a question's samples wait for each other, before and after scoring
    optimistic: bool = False
    target_alone: bool = False


def at_work(event: Event) -> tuple[float, float]:
    """From when to when a server worked on a request."""
    usage = event.usage
    began = usage.asked_at + usage.queue_seconds
    return began, began + usage.serve_seconds


@dataclass
class Outcome:
    """What came out of one simulated run. Seconds are simulated ones."""

    seconds: float
    samples: int
    turns: float  # a sample
    written: dict[str, int]  # tokens in the chains, by author
    discarded: int  # tokens of the draft that were rejected and replaced
    waited: float  # seconds of samples waiting: for slots, for room in a server, for each other
    served: float  # and seconds in which a server worked on them
    mean_seconds: float  # of a sample, from its start to its end
    longest_seconds: float  # likewise
    servers: dict[str, Any]
    engines: dict[str, dict[str, float]]
    limits: dict[str, Any]

    @property
    def tokens_per_second(self) -> float:
        """Written tokens over wall seconds."""
        return sum(self.written.values()) / self.seconds

    @property
    def intensity(self) -> float | None:
        """The paper's r = T_c / T_s, computing (memory included) over waiting; None where nobody waited."""
        return self.served / self.waited if self.waited > NOTHING else None


@virtual.timeless
async def simulate(
    script: Script,
    questions: Sequence[Chunk],
    repeats: int,
    turns: int,
    timings: dict[str, Timing],
    options: DriverOptions = DriverOptions(),
    find_answer: FindAnswer = find_box,
    decide: Callable[..., Decision] = judge,
    tokens: tuple[int, int] = (500, 500),
    rejection_rate: float = 0.4,
    on_rejection: OnRejection = "continue",
    stopping: Callable[[Sequence[Key]], Stopping] | None = None,
) -> Outcome:
    """One run of all samples of ``questions``. ``timings``: of "draft" and "target", or of "target" only.
    ``stopping``: what leaves out samples of decided questions; tokens of those that it cancels are the engines' only.
    """
    limit_of = {role: options.draft_limit if role == "draft" else options.target_limit for role in timings}
    longest = turns * (tokens[0] + round(rejection_rate * tokens[1]))
    limits = Limits(options.samples_in_flight, longest, Requests().request_timeout)
    servers_of = {"draft": options.draft_replicas, "target": options.target_replicas}
    # A model alone plays the part of the one that drafts.
    models = {
        role: Replicas(
            [
                Replica("draft" if options.target_alone else role, script, Engine(timing), limits.gate(limit_of[role]))
                for _ in range(servers_of[role])
            ]
        )
        for role, timing in timings.items()
    }
    for role, model in models.items():
        for one in model.servers:
            limits.add(one, one.gate, model.memory, adaptive=limit_of[role] == 0)
    barriers: dict[int, Barrier] = defaultdict(lambda: Barrier(None))  # by question, of the samples in flight
    most = dict(zip(("draft", "target"), tokens, strict=True))
    resample = on_rejection == "resample"
    if options.target_alone or resample:  # a chunk is as long as it is, whoever writes it
        most = dict.fromkeys(most, max(tokens))
    if resample:
        turns *= 2  # of the same text
    numbered = [Question(number, question.text, "") for number, question in enumerate(questions)]
    prompts = [script.encode(question.text) for question in questions]

    def loop(key: Key) -> tuple[Transcript, Coroutine[Any, Any, ExitStatus]]:
        question = key.question
        prompt = prompts[question.index]
        readers = {
            role: ModelView(model, script, prompt, prompt, most[role], 0.8, memory=model.memory)
            for role, model in models.items()
        }
        chain = Chain(find_answer, *readers.values())
        if options.target_alone:
            return chain, alone(chain, readers["target"], 2 * turns)  # a turn may have two chunks
        rule: TakeOver = ByScore(decide, RejectionPolicy(on_rejection, score_answers=resample))
        if options.barrier:
            rule = Lockstep(rule, barriers[question.index])
        return chain, atts(chain, readers["draft"], readers["target"], rule, turns, options.optimistic)

    keys: Sequence[Key] = Keys(numbered, repeats)
    if options.rounds:
        keys = round_by_round(keys)
    ended: list[tuple[int, list[int], float, float]] = []
    discarded = 0
    new = dict.fromkeys(timings, 0.0)  # tokens that each server had to compute, had it forgotten nothing

    async def keep(one: Ended) -> None:
        nonlocal discarded
        if one.status is ExitStatus.STOPPED:
            return
        limits.ended(one.chain)
        history = one.chain.history
        gone = sum(e.usage.completion_tokens for e in history if e.stage is Stage.DRAFT_DISCARDED)
        discarded += gone
        written = [
            sum(e.usage.completion_tokens for e in history if e.stage is stage)
            for stage in (Stage.DRAFT, Stage.CONTINUE)
        ]
        drafted = len({event.turn for event in history if event.stage in (Stage.DRAFT, Stage.CONTINUE)})
        ended.append((drafted, written, min(one.seconds, covered(map(at_work, history))), one.seconds))
        for role in timings:
            stages = (Stage.DRAFT,) if role == "draft" or options.target_alone else (Stage.SCORE, Stage.CONTINUE)
            uses = [event.usage for event in history if event.stage in stages]
            if uses:
                sent = max(usage.prompt_tokens for usage in uses)
                own = sum(usage.completion_tokens for usage in uses[:-1])
                shared = len(prompts[one.key.question.index]) * (1 - 1 / repeats)
                scored = gone if role == "target" else 0  # a discarded chunk, too, was computed once
                new[role] += max(0.0, sent - own - shared) + scored

    stop = stopping(keys) if stopping else None
    async with limits:
        await run_samples(keys, loop, keep, limits.samples, options.schedule, limits.queue_is_empty, stop)
    for model in models.values():
        for one in model.servers:
            await one.engine.stop()
    drafted, continued = (sum(one[1][i] for one in ended) for i in (0, 1))
    written = {"target": drafted} if options.target_alone else {"draft": drafted, "target": continued}
    return Outcome(
        seconds=limits.seconds,
        samples=len(ended),
        turns=sum(one[0] for one in ended) / len(ended),
        written=written,
        discarded=discarded,
        served=sum(one[2] for one in ended),
        waited=sum(one[3] - one[2] for one in ended),
        mean_seconds=sum(one[3] for one in ended) / len(ended),
        longest_seconds=max(one[3] for one in ended),
        servers=limits.report(),
        engines={role: {**_spent(model.servers, limits.seconds), "new": new[role]} for role, model in models.items()},
        limits={role: sum(one.gate.limit for one in model.servers) for role, model in models.items()}
        | {"samples": limits.samples.limit},
    )


def _spent(servers: Sequence[Replica], seconds: float) -> dict[str, float]:
    """What all servers of a model did together; ``busy`` is their mean, and ``most`` of one."""
    every = [one.engine.spent for one in servers]

    def total(name: str) -> float:
        return float(sum(getattr(spent, name) for spent in every))

    done = [spent.written + spent.prefilled for spent in every]
    return {
        "busy": total("busy_seconds") / seconds / len(every),
        "decode_seconds": total("decode_seconds"),
        "prefill_seconds": total("prefill_seconds"),
        "mean_running": total("request_seconds") / seconds,
        "most_running": max(spent.most_running for spent in every),
        "written": total("written"),
        "prompt": total("prompt"),
        "cached": total("cached"),
        "hits": total("cached") / total("prompt") if total("prompt") else 0.0,
        "prefilled": total("prefilled"),
        "mean_context": total("context_steps") / total("written") if total("written") else 0.0,
        "retracted": total("retracted"),
        "most_kv_tokens": max(spent.most_kv for spent in every),
        "balance": max(done) * len(done) / sum(done) if sum(done) else 1.0,  # the busiest server over their mean
        "moved": sum(one.moved for one in servers),  # chains, to another server
    }
