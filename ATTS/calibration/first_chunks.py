"""Calibration by first chunks: of every question those that a run would score.

A run scores no chunk that answers (but with ``score_answers``) and none whose author ended the text without an answer
(:func:`ATTS.method.loop.atts`), so another is drawn in the place of such a chunk: of the same question where each has
an array of its own, else of any question. Then a question's share of the scores is that which it has in a run, where
one whose draft answers at once has few (rejection sampling; docs/FIDELITY.md has the rates with and without). Only with
``--compat published``, which scores every chunk that isn't empty, none is drawn again.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ATTS.console import Progress, say
from ATTS.errors import SampleError, ScoreFailed, UserError
from ATTS.method.chain import Chain
from ATTS.method.conformal import Decision
from ATTS.method.types import Stage
from ATTS.published import Author, PublishedChain
from ATTS.runs.models import ChunkModel
from ATTS.runs.settings import ConformalSettings
from ATTS.serving import affinity
from ATTS.serving.queue import drain
from ATTS.store.array_file import Scores
from ATTS.store.calibration import COUNTS
from ATTS.store.journal import Entry, Journal
from ATTS.tasks.datasets import Question

DRAWS = 8  # first chunks for one score: all 16 scores are found with a chance of 94 % where half of the chunks answer
FAILURES = 5  # of requests at one score
UNSCORED = ("answered", "ended", "empty")  # what a first chunk can be that is not scored


@dataclass(frozen=True)
class _Drawer:
    """Draws first chunks and scores them."""

    settings: ConformalSettings
    asked: Sequence[Question]
    draft: ChunkModel
    target: ChunkModel

    async def score(self, place: Iterator[int]) -> tuple[int, float | None, Counter[str]]:
        """Of the first chunk that is to be scored: its question's row, its score, and how many others came before
        it; None if there was none among :data:`DRAWS`. ``place``: rows to draw from, one after another.
        Raises UserError."""
        unscored: Counter[str] = Counter()
        row = next(place)
        failures = 0
        draws = DRAWS if self.settings.draft.temperature > 0 else 1  # greedy, it would write the same again
        draw = self._as_published if self.settings.scoring.compat else self._draw
        while unscored.total() < draws:
            try:
                drawn = await draw(self.asked[row])
            except SampleError as error:
                failures += 1
                if failures == FAILURES:
                    raise UserError(
                        f"question {self.asked[row].index} could not be scored in {FAILURES} attempts ({error}); the"
                        " scores so far are kept, and the same command resumes from them"
                    ) from None
                continue
            if isinstance(drawn, float):
                return row, drawn, unscored
            unscored[drawn] += 1
            row = next(place)
        return row, None, unscored

    async def _draw(self, question: Question) -> float | str:
        """A score, or why there is none. Raises SampleError."""
        s = self.settings
        d, t = self.draft.reader(question), self.target.reader(question)
        chain = Chain(s.answers.reader(), d, t, score=s.scoring.measure)
        drafted = await chain.extend(d, 0, Stage.DRAFT)
        if chain.answer is not None and not s.scoring.score_answers:
            return "answered"
        if chain.answer is None and drafted.final:
            return "ended" if drafted.output else "empty"
        scored = await chain.score(t, 0)
        assert scored.score is not None
        return scored.score

    async def _as_published(self, question: Question) -> float | str:
        s = self.settings
        draft, target = (Author(p.model, p.tokenizer, p.max_tokens, p.temperature) for p in (self.draft, self.target))
        answers = s.answers.reader()
        chain = PublishedChain(question.prompt, draft, target, s.scoring.use_chat_template, answers)
        if not await chain.draft(0):
            return "empty"
        await chain.score(0, _undecided)
        ppl = chain.history[-1].ppl
        if not ppl:  # where there are no log-probabilities, the published perplexity is 0
            raise ScoreFailed("the target returned no log-probabilities")
        return ppl


def _unwanted(settings: ConformalSettings) -> str:
    if settings.scoring.score_answers:
        return "first chunk that ends the text without an answer or is empty"
    return "first chunk that answers, ends the text or is empty"


def _undecided(score: float, turn: int) -> Decision:  # noqa: ARG001
    return Decision(None, False)


def _places(row: int, sample: int, questions: int, seed: int, per_question: bool) -> Iterator[int]:
    """The rows from which one score is drawn until there is one."""
    yield row
    dice = random.Random(f"{seed}-{row}-{sample}")
    while True:
        yield row if per_question else dice.randrange(questions)


async def first_chunks(
    settings: ConformalSettings,
    questions: Sequence[Question],
    draft: ChunkModel,
    target: ChunkModel,
    partial: Journal,
    per_question: bool,
) -> tuple[Scores, dict[str, Any]]:
    """Scores question by question, ``sample_size`` for each, and what is to be told about them.

    Per question: of shape (questions, sample_size); a row with fewer scores ends in NaN. Raises UserError, also if
    there is no score at all.
    """
    key = settings.scoring.measure.key
    everything = [(row, sample) for row in range(len(questions)) for sample in range(settings.calibration.sample_size)]
    done = {(entry["row"], entry["sample"]) for entry in partial.entries}
    drawer = _Drawer(settings, questions, draft, target)
    with Progress(len(everything), len(done), "score") as progress:

        async def work(item: tuple[int, int]) -> None:
            row, sample = item
            places = _places(row, sample, len(questions), settings.data.seed, per_question)
            with affinity.chain(f"c{row}-s{sample}", str(row)):
                of, score, unscored = await drawer.score(places)
            await partial.add(
                {"row": row, "sample": sample, "of": of, key: score, **{why: unscored[why] for why in UNSCORED}}
            )
            progress.add("not scored" if score is None else "drawn again" if unscored else "scored")

        servers = len(settings.draft.urls) + len(settings.target.urls)
        await drain([item for item in everything if item not in done], work, settings.limits.each * servers)
    return _summed_up(settings, questions, partial.entries, key, per_question)


def _summed_up(
    settings: ConformalSettings, questions: Sequence[Question], entries: Sequence[Entry], key: str, per_question: bool
) -> tuple[Scores, dict[str, Any]]:
    rows: list[list[float]] = [[] for _ in questions]
    for entry in sorted(entries, key=lambda entry: (entry["row"], entry["sample"])):
        if entry[key] is not None:
            rows[entry["of"]].append(entry[key])
    counts, size = [len(row) for row in rows], settings.calibration.sample_size
    scored, wanted = sum(counts), len(questions) * size
    unscored = {why: sum(entry[why] for entry in entries) for why in UNSCORED}
    others = ", ".join(f"{count} {why}" for why, count in unscored.items() if count)
    if not scored:
        raise UserError(
            f"no first chunk of these {len(questions)} questions is one that a run would score: {others}. Use smaller"
            " chunks (--small_model_max_tokens)"
        )
    if others:
        say(f"a run scores no {_unwanted(settings)}; others were drawn instead: {others}")
    if scored < wanted:
        say(f"the array has {scored} scores, not {wanted}: of {DRAWS} first chunks none is one that a run would score")
    few = [question.index for question, count in zip(questions, counts, strict=True) if count < size]
    if few and per_question:
        say(f"{len(few)} questions have fewer than {size} scores; the first is question {few[0]}")
    scores = np.array([score for row in rows for score in row])
    if per_question:
        scores = np.array([row + [np.nan] * (size - len(row)) for row in rows])
    return scores, {COUNTS: counts, "unscored_first_chunks": unscored, "order": "question-major"}
