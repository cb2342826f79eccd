"""Calibration by turn: the loop itself, on calibration questions, turn by turn.

The chunks of a turn are what the decisions of the turns before made them, so those must be the ones
that a run will make: after every turn its scores are calibrated, and these decide it. That is the one
barrier in this project, and it is not in a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ATTS.method.chain import Chain, Reader
from ATTS.method.conformal import PerTurn
from ATTS.method.types import ContextFull, Event, Generated, SampleError, ScoreFailed, Stage, Usage
from ATTS.problem import Problem
from ATTS.runs import calibration
from ATTS.runs.partial import Entry, Partial
from ATTS.runs.parties import Party
from ATTS.runs.progress import Progress, say
from ATTS.runs.queue import drain
from ATTS.runs.settings.atts import ConformalSettings
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question


@dataclass
class _Sample:
    """One chain on its way. ``score`` is that of the newest turn, None if that wasn't scored."""

    row: int
    sample: int
    draft: Reader
    target: Reader
    chain: Chain
    score: float | None = None
    rejected: bool = False
    over: bool = False
    chunks: list[Entry] = field(default_factory=list)  # of this step

    async def step(self, turn: int) -> Entry:
        """What the last turn's decision asks for, then draft and score: one turn of the loop up to its decision.

        Returns all that is needed to do it again without the servers. Raises SampleError.
        """
        self.score, self.chunks = None, []
        try:
            if self.rejected:
                await self._continue(turn - 1)
            if not self.over:
                await self._draft_and_score(turn)
        except (ContextFull, ScoreFailed):  # the loop ends such a sample, too
            self.over = True
        where = {"row": self.row, "sample": self.sample, "turn": turn}
        return {**where, "ppl": self.score, "over": self.over, "chunks": self.chunks}

    async def _draft_and_score(self, turn: int) -> None:
        drafted = await self._extend(self.draft, turn, Stage.DRAFT)
        if self.chain.answer is not None:
            self.over = True
        elif drafted.ended or not drafted.output:
            await self._continue(turn)
        else:
            self.score = (await self.chain.score(self.target, turn)).ppl

    async def _continue(self, turn: int) -> None:
        continued = await self._extend(self.target, turn, Stage.CONTINUE)
        self.rejected = False
        self.over = self.chain.answer is not None or continued.ended or not continued.output

    async def _extend(self, author: Reader, turn: int, stage: Stage) -> Event:
        event = await self.chain.extend(author, turn, stage)
        ids = author.ids[-author.newest :] if event.output else []
        self.chunks.append({"turn": turn, "stage": stage.value, "ids": ids, "ended": event.ended})
        return event

    def again(self, entry: Entry) -> None:
        """Does a step of an interrupted calibration again, from its record."""
        for chunk in entry["chunks"]:
            stage = Stage(chunk["stage"])
            author = self.draft if stage is Stage.DRAFT else self.target
            self.chain.take(author, chunk["turn"], stage, Generated(chunk["ids"], chunk["ended"], Usage()))
        self.score, self.over, self.rejected = entry["ppl"], entry["over"], False


async def calibrate_turns(
    settings: ConformalSettings, asked: Sequence[Question], draft: Party, target: Party, partial: Partial
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Scores with their turn and question (:data:`calibration.BY_TURN`), and what is to be told about them.

    Raises Problem, also if the scores of the first turn can't support the rejection rate.
    """
    chains = list(_samples(settings, asked, draft, target))
    done = {(entry["row"], entry["sample"], entry["turn"]): entry for entry in partial.entries}
    by_turn: dict[int, list[float]] = {}
    rows: list[tuple[int, int, float]] = []
    for turn in range(settings.turns):
        live = [chain for chain in chains if not chain.over]
        if not live:
            break
        owed = []
        for chain in live:
            entry = done.get((chain.row, chain.sample, turn))
            owed.append(chain) if entry is None else chain.again(entry)
        with Progress(len(live), len(live) - len(owed), "sample") as progress:

            async def work(chain: _Sample, turn: int = turn, progress: Progress = progress) -> None:
                try:
                    partial.add(await chain.step(turn))
                except SampleError as error:
                    raise Problem(
                        f"a sample of question {asked[chain.row].index} could not be scored at turn {turn} ({error});"
                        " what is done is kept, and the same command goes on from there"
                    ) from None
                progress.add("over" if chain.over else "scored")

            await drain(owed, work, 2 * settings.max_concurrent)
        scored = [chain for chain in live if chain.score is not None]
        rows += [(turn, chain.row, chain.score) for chain in scored if chain.score is not None]
        by_turn[turn] = [score for of_turn, _, score in rows if of_turn == turn]
        try:
            judge = PerTurn(by_turn, settings.rejection_rate)
        except ValueError as error:
            raise Problem(f"calibration by turn stops at turn {turn}: {error}; use more questions") from None
        for chain in scored:
            assert chain.score is not None
            chain.rejected = judge(chain.score, turn).rejected
        say(f"turn {turn}: {len(scored)} scores of {len({chain.row for chain in scored})} questions")
    counts = {str(turn): len(scores) for turn, scores in by_turn.items()}
    return np.array(rows, dtype=calibration.BY_TURN), {"scores_by_turn": counts}


def _samples(settings: ConformalSettings, asked: Sequence[Question], draft: Party, target: Party) -> Iterator[_Sample]:
    for row, question in enumerate(asked):
        for sample in range(settings.sample_size):
            d, t = draft.reader(question), target.reader(question)
            yield _Sample(row, sample, d, t, Chain(find_answer, d, t))
