"""Calibration by turn: the loop itself, on calibration questions, with a rule that calibrates each turn on the way.

The chunks of a turn are what the decisions of the turns before made them, so those must be the ones
that a run will make: when all of a turn's chunks are scored its scores are calibrated, and these decide.
Chunks that are drafted again at a turn, because the first was rejected, are decided by the same scores, which
hold the first chunks only: the rate is that of the first.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.console import Progress, say
from ATTS.errors import ContextFull, SampleError, UnknownCharacter, UserError
from ATTS.method.barrier import Barrier
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import PerTurn, worth
from ATTS.method.loop import atts
from ATTS.method.replay import Replayed, Reply
from ATTS.method.take_over import CountsRejections, RejectionPolicy, Ruling
from ATTS.method.types import Event
from ATTS.runs.models import ChunkModel
from ATTS.runs.settings import ConformalSettings
from ATTS.serving import affinity
from ATTS.serving.queue import drain
from ATTS.store.array_file import BY_TURN
from ATTS.store.journal import Entry, Journal
from ATTS.tasks.datasets import Question


class _Turns:
    """The scores of all samples, turn by turn. Ranks are decided on when a turn's scores are complete."""

    def __init__(self, samples: int, turns: int, rejection_rate: float) -> None:
        self.barrier, self._number = Barrier(samples), turns
        self.scores: dict[int, dict[tuple[int, int], float]] = defaultdict(dict)  # by turn, row and sample
        self._rate = rejection_rate
        self.rule = cache(self._rule)

    def _rule(self, turn: int) -> PerTurn:
        """Calibrated on all turns up to ``turn``, whose scores are complete."""
        scores = {of: [own[key] for key in sorted(own)] for of, own in self.scores.items() if of <= turn}
        questions = {of: [row for row, _ in sorted(own)] for of, own in self.scores.items() if of <= turn}
        say(f"turn {turn}: {len(scores[turn])} scores of {len({row for row, _ in self.scores[turn]})} questions")
        try:
            return PerTurn(scores, self._rate, questions=questions)
        except ValueError as error:
            raise UserError(f"calibration by turn stops at turn {turn}: {error}; use more questions") from None

    def is_last(self, turn: int) -> bool:
        return turn + 1 == self._number

    @property
    def rows(self) -> list[tuple[int, int, float]]:
        """Turn, row of the question, score."""
        return [(turn, key[0], own[key]) for turn, own in sorted(self.scores.items()) for key in sorted(own)]


class _AtItsTurn(CountsRejections):
    """One sample's rule. ``known``: its scores in the journal, by turn and attempt."""

    def __init__(
        self,
        turns: _Turns,
        key: tuple[int, int],
        known: dict[tuple[int, int], float],
        partial: Journal,
        policy: RejectionPolicy,
    ) -> None:
        super().__init__(policy)
        self._turns, self._member = turns, turns.barrier.join()
        self._key, self._known, self._partial = key, known, partial

    async def decide(self, chain: Chain, target: ModelView, turn: int, drafted: Event) -> Ruling:
        if drafted.final and chain.answer is None:
            self._turns.barrier.reach(self._member, turn)
            return Ruling.CONTINUE
        score = self._known.get((turn, self._rejected))
        if score is None:
            score = (await chain.score(target, turn)).score
            assert score is not None
            row, sample = self._key
            place = {"row": row, "sample": sample, "turn": turn, "attempt": self._rejected}
            await self._partial.add({**place, "score": score})
        if not self._rejected:
            self._turns.scores[turn][self._key] = score
            await self._turns.barrier.arrive(self._member, turn)
        if not self._turns.rule(turn)(score, turn).rejected or self._turns.is_last(turn):
            return Ruling.ACCEPT  # nothing is scored behind the last turn
        return self.ruling()

    def leave(self) -> None:
        self._turns.barrier.leave(self._member)


async def calibrate_turns(
    settings: ConformalSettings, questions: Sequence[Question], draft: ChunkModel, target: ChunkModel, partial: Journal
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Scores with their turn and question (:data:`BY_TURN`), and what is to be told about them.

    Raises UserError, also if the scores of a turn can't support the rejection rate.
    """
    rate = settings.scoring.rejection_rate
    keys = [(row, sample) for row in range(len(questions)) for sample in range(settings.calibration.sample_size)]
    if not PerTurn.suffices(len(questions), settings.calibration.sample_size, rate):
        raise UserError(
            f"calibration by turn needs scores worth {PerTurn.fewest(rate)} independent ones, and those of"
            f" {len(questions)} questions are worth {worth([row for row, _ in keys]):.3g}: take more questions"
        )
    turns = _Turns(len(keys), settings.calibration.turns, rate)
    journal: dict[tuple[int, int], list[Entry]] = defaultdict(list)
    for entry in partial.entries:
        journal[entry["row"], entry["sample"]].append(entry)

    def reader(served: ChunkModel, key: tuple[int, int]) -> ModelView:
        """That model's view of a chain, whose replies are in the journal or go there."""
        row, sample = key
        role = served.model.role
        replies: list[Reply] = [{"ids": e["ids"], "ended": e["ended"]} for e in journal[key] if e.get("author") == role]

        async def keep(reply: Reply) -> None:
            await partial.add({"row": row, "sample": sample, "author": role, **reply})

        view = served.reader(questions[row])
        view.model = Replayed(view.model, replies, keep)
        return view

    answers = settings.answers.reader()
    with Progress(len(keys), 0, "sample") as progress:

        async def work(key: tuple[int, int]) -> None:
            d, t = reader(draft, key), reader(target, key)
            known = {(e["turn"], e.get("attempt", 0)): e["score"] for e in journal[key] if "score" in e}
            chain = Chain(answers, d, t, score=settings.scoring.measure)
            rule = _AtItsTurn(turns, key, known, partial, settings.scoring.policy)
            try:
                with affinity.chain(f"c{key[0]}-s{key[1]}", str(key[0])):
                    status = (await atts(chain, d, t, rule, settings.calibration.turns)).value
            except (ContextFull, UnknownCharacter) as error:  # ends such a sample in a run, too
                status = error.status.value
            except SampleError as error:
                raise UserError(
                    f"a sample of question {questions[key[0]].index} failed ({error}); what is done is kept, and the"
                    " same command resumes from there"
                ) from None
            progress.add(status)

        await drain(keys, work, len(keys))  # they wait for each other, so all are under way; requests are limited
    if not turns.scores:
        raise UserError(
            f"calibration by turn stops at turn 0: all {len(keys)} first chunks answer or end the text, and a run"
            " scores none of those. Use smaller chunks (--small_model_max_tokens)"
        )
    counts = {str(turn): len(own) for turn, own in sorted(turns.scores.items())}
    return np.array(turns.rows, dtype=BY_TURN), {"scores_by_turn": counts}
