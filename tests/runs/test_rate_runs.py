"""Calibration kinds through whole runs: emulated servers, real files, interruption and resume."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import NO_DIGESTS, QUESTIONS, chance
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from ATTS.errors import ExitStatus, ServerFailed, UserError
from ATTS.flags import make
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import Online
from ATTS.method.loop import atts
from ATTS.method.score import SCORES
from ATTS.method.take_over import ByScore
from ATTS.method.types import Generated, Usage
from ATTS.runs import rules
from ATTS.runs.settings import AsyncSettings
from ATTS.store import decisions
from ATTS.store.records import Key, record
from ATTS.store.result_folder import ResultStore, samples
from ATTS.tasks.answers import find_answer


class Bytes:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()


class Speaks:
    """What it writes and how it scores follows from the prompt; fails at request ``fails_at``."""

    def __init__(self, fails_at: float = math.inf) -> None:
        self.requests, self.fails_at = 0, fails_at

    def _asked(self, ids: Sequence[int]) -> random.Random:
        self.requests += 1
        if self.requests > self.fails_at:
            raise ServerFailed("gone")
        return chance(list(ids))

    async def generate(self, ids: Sequence[int], max_tokens: int, temperature: float) -> Generated:
        drawn = self._asked(ids)
        text = rf"\boxed{{{drawn.randrange(5)}}}" if drawn.random() < 0.2 else f"step {drawn.randrange(99)}. "
        return Generated(list(text.encode()), False, Usage())

    async def logprobs(self, ids: Sequence[int], start: int) -> tuple[list[float | None], Usage]:
        return [-self._asked(ids).random()] * (len(ids) - start), Usage()


def settings(**flags: Any) -> AsyncSettings:
    return make(
        AsyncSettings,
        **{"small_model_name": "d", "eval_model_name": "t", "dataset_name": "demo", "repeats": 3, "turns": 6} | flags,
    )


async def go(chosen: AsyncSettings, folder: Path, fails_at: float = math.inf) -> None:
    """A run of one sample at a time, by the parts of a real one but its servers; ends when they fail."""
    model = Speaks(fails_at)
    decides = rules.make(chosen, False, QUESTIONS)
    keys = [Key(question, repeat, 3) for question in QUESTIONS for repeat in range(3)]
    with ResultStore(folder, {"decisive": {}}, force=False) as store:
        for key in decides.resume(folder, store.owed(keys)):
            d, t = (ModelView(model, Bytes(), [who, key.index], [key.index], 9, 1.0) for who in (1, 2))
            chain = Chain(find_answer, d, t, score=SCORES[chosen.scoring.score])
            status, error = ExitStatus.SERVER_FAILED, None
            try:
                rule = ByScore(decides[key], chosen.scoring.policy)
                status = await atts(chain, d, t, rule, chosen.samples.turns)
            except ServerFailed as failure:
                error = str(failure)
            await store.save(record(key, chain, status, error, 1.0, NO_DIGESTS))
            if error:
                return


def told(folder: Path) -> dict[int, list[Any]]:
    """Everything decided, by sample."""
    return {s["problem_index"]: [e for e in s["full_history"] if e["model"] == "eval_ppl"] for s in samples(folder)}


@settings_of_hypothesis(max_examples=20)
@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.sampled_from(["online", "window", "bound", "smoothed", "random", "sum", "resample", "random resample"]),
)
def test_an_interrupted_run_decides_like_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int, kind: str
) -> None:
    """Stopped twice, at any requests, half-done samples thrown away: every percentile, p-value, level, decision
    and number is that of the run in one go."""
    folder = tmp_path_factory.mktemp("runs")
    flags: dict[str, Any] = {"calibration": "online", "seed": 3}
    if kind == "window":
        flags |= {"bank_window": 4}
    if kind == "bound":
        flags |= {"budget": 2, "budget_kind": "bound", "gamma": 0.5}
    if "random" in kind:
        flags = {"takeover": "random", "rejection_rate": 0.5, "seed": 3}
    if kind == "sum":
        flags |= {"score": "sum"}
    if "resample" in kind:
        flags |= {"on_rejection": "resample", "draft_attempts": 2}
    if kind == "smoothed":
        np.save(folder / "a.npy", np.linspace(1.1, 2.7, 20))
        flags = {"p_value": "smoothed", "ppl_array_path": folder / "a.npy"}
    chosen = settings(**flags)
    asyncio.run(go(chosen, folder / "whole"))
    for fails_at in (first, second, math.inf):
        asyncio.run(go(chosen, folder / "parts", fails_at))
    whole, parts = told(folder / "whole"), told(folder / "parts")
    assert len(whole) == 15
    if "random" not in kind:
        orders = [entry["order"] for decided in whole.values() for entry in decided]
        assert sorted(orders) == list(range(len(orders)))
    assert parts == whole


@settings_of_hypothesis(max_examples=15)
@given(st.lists(st.integers(1, 60), max_size=6), st.sampled_from([0.2, 0.4]), st.booleans())
def test_a_level_that_follows_holds_the_rate_over_every_window_after_any_interruptions(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], rate: float, torn: bool
) -> None:
    """Of all decisions made, those of half-done samples among them, every W in a row miss by at most
    (1 + gamma) / (gamma W); a new process goes on at the level where the last one stopped."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    chosen = settings(calibration="adaptive", rejection_rate=rate, gamma=0.5, seed=3)
    for fails_at in (*stops, math.inf):
        asyncio.run(go(chosen, folder, fails_at))
        if torn and fails_at < math.inf:
            with (folder / decisions.JOURNAL).open("ab") as file:
                file.write(b'{"order": 1')
    made = list(decisions.read(folder / decisions.JOURNAL))
    assert [entry["order"] for entry in made] == list(range(len(made)))
    kept = {entry["order"]: entry["rejected"] for decided in told(folder).values() for entry in decided}
    assert kept.items() <= {entry["order"]: entry["rejected"] for entry in made}.items()
    sums = np.cumsum([0, *(entry["rejected"] for entry in made)])
    for window in range(1, len(made) + 1):
        misses = (sums[window:] - sums[:-window]) / window - rate
        assert abs(misses).max() <= 1.5 / (0.5 * window) + 1e-9
    judge = Online(rate, 3, gamma=0.5)
    assert [judge(entry["score"], entry["turn"]).rejected for entry in made] == [entry["rejected"] for entry in made]


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    chosen = settings(calibration="adaptive")
    asyncio.run(go(chosen, tmp_path, 20))
    path = tmp_path / decisions.JOURNAL
    lines = path.read_text().splitlines()
    for damage in ("{", '{"order": 0}'):
        path.write_text("\n".join([damage, *lines[1:]]) + "\n")
        with pytest.raises(UserError, match=r"decisions\.jsonl.* damaged"):
            asyncio.run(go(chosen, tmp_path))


@settings_of_hypothesis(max_examples=15)
@given(
    st.integers(1, 2), st.lists(st.integers(1, 60), max_size=3), st.sampled_from(["marginal", "online"]), st.booleans()
)
def test_a_budget_that_is_a_bound_is_never_exceeded_at_a_turn_of_a_question(
    tmp_path_factory: pytest.TempPathFactory, most: int, stops: list[int], kind: str, resample: bool
) -> None:
    """Whatever is interrupted; and what is handed over are the first that the rule rejects, until it is spent."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "a.npy", np.linspace(1.1, 2.7, 20))
    array = {} if kind == "online" else {"ppl_array_path": folder / "a.npy"}
    policy = {"on_rejection": "resample", "draft_attempts": 2} if resample else {}
    chosen = settings(budget=most, budget_kind="bound", calibration=kind, seed=3, **array, **policy)
    for fails_at in (*stops, math.inf):
        asyncio.run(go(chosen, folder / "run", fails_at))
    spent: Counter[tuple[int, int]] = Counter()
    alike: Counter[tuple[int, int]] = Counter()
    for index, decided in sorted(told(folder / "run").items()):
        for entry in decided:
            place = (index // 3, entry["turn"])
            spent[place] += entry["rejected"]
            if kind == "marginal":
                alike[place] += entry["percentile"] >= 1 - most / 3
    assert max(spent.values()) <= most
    if kind == "marginal":
        assert spent == Counter({place: min(count, most) for place, count in alike.items()})
