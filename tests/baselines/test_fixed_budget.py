"""A fixed number of take-overs a question and turn, ranked behind a barrier or drawn by lot."""

import asyncio
import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_models import Scripted as Model
from scripted_models import reader

from ATTS.baselines.fixed_budget.rules import RandomBudget, RankedBudget, fixed, share
from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import AsyncFixBudgetSettings, SyncFixBudgetSettings
from ATTS.emulator import Ask, Fault, Scripted, Served, Server, Written
from ATTS.errors import ExitStatus, UserError
from ATTS.flags import make
from ATTS.method.chain import Chain
from ATTS.method.loop import atts
from ATTS.method.types import Stage
from ATTS.tasks.answers import find_answer

SURPRISES = st.lists(st.floats(0.0625, 4, width=32), min_size=1, max_size=6)


def sample(budget: RankedBudget, surprises: list[float]) -> tuple[Chain, Any]:
    """A sample with a score a turn, which it then ends by an answer."""
    draft = Model([*("d " for _ in surprises), r"\boxed{1}"])
    target = Model(["t " for _ in surprises], [-s for s in surprises])
    d, t = reader(draft), reader(target)
    chain = Chain(find_answer, d, t)
    return chain, atts(chain, d, t, budget.sample(0), len(surprises) + 1)


@given(st.lists(SURPRISES, min_size=1, max_size=6), st.integers(0, 4))
def test_at_every_turn_the_live_samples_with_the_highest_perplexity_are_taken_over_and_no_others(
    samples: list[list[float]], budget: int
) -> None:
    async def main() -> list[Chain]:
        ranked = RankedBudget(len(samples), fixed(budget))
        chains, work = zip(*(sample(ranked, surprises) for surprises in samples), strict=True)
        assert set(await asyncio.gather(*work)) == {ExitStatus.ANSWERED}
        return list(chains)

    chains = asyncio.run(main())
    by_turn: dict[int, list[Any]] = defaultdict(list)
    for chain in chains:
        for event in chain.history:
            if event.stage is Stage.SCORE:
                by_turn[event.turn].append(event)
    for turn, events in by_turn.items():
        assert len(events) == sum(len(surprises) > turn for surprises in samples)  # the live ones
        chosen = [event.ppl for event in events if event.rejected]
        others = [event.ppl for event in events if not event.rejected]
        assert len(chosen) == min(budget, len(events))
        assert min(chosen, default=math.inf) >= max(others, default=0)
        for event in events:
            assert event.percentile == sum(other.ppl < event.ppl for other in events) / len(events)
    for chain in chains:
        taken = {event.turn for event in chain.history if event.stage is Stage.CONTINUE}
        assert taken == {event.turn for event in chain.history if event.rejected}


def test_a_sample_that_fails_or_is_cancelled_leaves_the_others_to_go_on() -> None:
    async def main() -> None:
        budget = RankedBudget(3, fixed(1))
        chain, work = sample(budget, [1.0])
        failing_draft, idle = reader(Model([])), reader(Model([]))
        failing = atts(Chain(find_answer, failing_draft, idle), failing_draft, idle, budget.sample(0), 3)
        _, waiting = sample(budget, [3.0])
        first, second = asyncio.create_task(work), asyncio.create_task(waiting)
        await asyncio.sleep(0)  # both have a score, the second one the higher
        second.cancel()
        with pytest.raises(IndexError):
            await failing
        assert await first is ExitStatus.ANSWERED
        assert chain.history[1].rejected

    asyncio.run(main())


def test_a_text_that_the_draft_ended_goes_first_and_is_over_without_a_place() -> None:
    for budget, expected in ((1, ExitStatus.ANSWERED), (0, ExitStatus.DRAFT_ENDED)):
        d, t = reader(Model(["so$"])), reader(Model([r"\boxed{1}"]))
        chain = Chain(find_answer, d, t)
        assert asyncio.run(atts(chain, d, t, RankedBudget(1, fixed(budget)).sample(0), 3)) is expected


@given(st.integers(1, 20), st.integers(0, 25), st.integers(0, 40))
def test_a_budget_of_different_samples_is_drawn_and_the_same_again(samples: int, budget: int, turn: int) -> None:
    drawn = RandomBudget(samples, fixed(budget), "1-2").drawn(turn)
    assert len(set(drawn)) == len(drawn) == min(budget, samples)
    assert set(drawn) <= set(range(samples))
    assert RandomBudget(samples, fixed(budget), "1-2").drawn(turn) == drawn


@given(st.floats(0, 1), st.integers(1, 16), st.integers(0, 10**6))
def test_a_share_is_in_whole_samples_and_right_on_the_average(rate: float, samples: int, seed: int) -> None:
    counts = [share(rate, f"{seed}-{question}")(turn, samples) for question in range(100) for turn in range(5)]
    assert {math.floor(rate * samples), math.ceil(rate * samples)} >= set(counts)
    assert sum(counts) / 500 == pytest.approx(rate * samples, abs=0.15)  # 6 standard deviations
    again = [share(rate, f"{seed}-{question}")(turn, samples) for question in range(100) for turn in range(5)]
    assert again == counts


def test_draws_differ_by_turn_question_and_seed() -> None:
    draws = {
        tuple(RandomBudget(16, fixed(5), seed).drawn(turn)) for seed in ("1-1", "1-2", "2-1") for turn in range(20)
    }
    assert len(draws) == 60


def served(role: str, *faults: str) -> Served:
    """Drafts answer in the fourth chunk; scores fall as the server pleases."""
    levels = iter(range(1, 10**6))

    def write(ask: Ask) -> Written:
        return Written(r"\boxed{1}" if ask.text.count("d1 ") >= 3 else "d1 " if role == "draft" else "t1 ", "length")

    def score(ask: Ask, start: int) -> list[float | None]:
        return [-(next(levels) * 0.37 % 1)] * (len(ask.ids) - start)

    return Served(role=role, name=role, content=Scripted(write, score), faults=tuple(map(Fault.parse, faults)))


def settings(kind: Any, one: Server, two: Server, folder: Path, **more: Any) -> Any:
    base: dict[str, Any] = {"takeover_budget": 2, "repeats": 5, "max_problems": 3, "dataset_name": "demo"}
    return make(
        kind,
        **base | more,
        small_model_name="draft",
        eval_model_name="target",
        output_dir=folder,
        small_model_url=one.url,
        eval_model_url=two.url,
        small_model_concurrency=2,
        eval_model_concurrency=1,
        max_retries=0,
    )


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("problem_*.json")}


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("problem_*.json"))]


def test_a_synchronous_run_takes_over_its_budget_a_question_and_turn_whatever_the_limits(tmp_path: Path) -> None:
    """Fewer slots than repeats don't stop the barrier."""

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await evaluate_fixed_budget(settings(SyncFixBudgetSettings, one, two, tmp_path))

    asyncio.run(main())
    found = read(tmp_path)
    assert len(found) == 15
    counts = Counter(
        (sample["question_index"], entry["turn"])
        for sample in found
        for entry in sample["full_history"]
        if entry["model"] == "eval_generate"
    )
    assert counts == {(question, turn): 2 for question in range(3) for turn in range(3)}


def test_an_interrupted_synchronous_question_is_done_again_as_a_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(served("draft", "status,at=0,status=400")) as one, Server(served("target")) as two:
            with pytest.raises(UserError, match="1 of 15 samples failed"):
                await evaluate_fixed_budget(settings(SyncFixBudgetSettings, one, two, tmp_path))
            before = times(tmp_path)
            await evaluate_fixed_budget(settings(SyncFixBudgetSettings, one, two, tmp_path))
            changed = {name for name, time in times(tmp_path).items() if time != before[name]}
            assert changed == {f"problem_{index:04d}.json" for index in range(5)}

    asyncio.run(main())
    assert all(sample["exit_status"] == "answered" for sample in read(tmp_path))


@pytest.mark.parametrize(("kind", "rate"), [(SyncFixBudgetSettings, 0.5), (AsyncFixBudgetSettings, 0.3)])
def test_a_share_of_the_samples_is_taken_over_whatever_their_number(tmp_path: Path, kind: Any, rate: float) -> None:
    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await evaluate_fixed_budget(settings(kind, one, two, tmp_path, takeover_rate=rate, max_problems=20))

    asyncio.run(main())
    models = Counter((e["turn"], e["model"]) for sample in read(tmp_path) for e in sample["full_history"])
    for turn in range(3):  # nobody has answered by then
        assert models[turn, "eval_generate"] / models[turn, "small"] == pytest.approx(rate, abs=0.1)


def test_a_sample_ends_with_its_token_budget_and_its_question_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await evaluate_fixed_budget(settings(SyncFixBudgetSettings, one, two, tmp_path, token_budget=9))

    asyncio.run(main())
    for sample in read(tmp_path):
        written = sum(entry.get("tokens", 0) for entry in sample["full_history"])
        assert written <= 9
        assert sample["exit_status"] == "token_budget"
        assert written == 9


def test_an_asynchronous_run_draws_the_same_number_and_scores_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            await evaluate_fixed_budget(settings(AsyncFixBudgetSettings, one, two, tmp_path))

    asyncio.run(main())
    models = Counter((e["turn"], e["model"]) for sample in read(tmp_path) for e in sample["full_history"])
    assert all(models[turn, "eval_generate"] == 6 for turn in range(3))
    assert all(model != "eval_ppl" for _, model in models)


def test_a_resumed_asynchronous_run_hands_over_what_one_in_one_go_does(tmp_path: Path) -> None:
    """Each sample by its own lots, whichever samples are done with it."""

    async def main() -> None:
        async with Server(served("draft")) as one, Server(served("target")) as two:
            for again in ((), (1, 3, 7, 14)):
                for index in again:
                    (tmp_path / f"problem_{index:04d}.json").unlink()
                await evaluate_fixed_budget(settings(AsyncFixBudgetSettings, one, two, tmp_path))
                for sample in read(tmp_path):
                    lots = RandomBudget(5, fixed(2), f"0-{sample['question_index']}")
                    turns = {e["turn"] for e in sample["full_history"] if e["model"] == "small"}
                    over = {e["turn"] for e in sample["full_history"] if e["model"] == "eval_generate"}
                    drawn = {turn for turn in turns if sample["repeat"] in lots.drawn(turn)}
                    assert drawn - {max(turns)} <= over <= drawn  # the draft's answer ends the last turn before the lot

    asyncio.run(main())


def test_the_published_defaults_are_kept() -> None:
    names = {"small_model_name": "a", "eval_model_name": "b", "dataset_name": "demo"}
    assert make(SyncFixBudgetSettings, **names).budget.takeover_budget == 5
    assert make(AsyncFixBudgetSettings, **names).budget.takeover_budget == 10
    with pytest.raises(ValueError, match="--takeover_budget"):
        make(SyncFixBudgetSettings, **names, takeover_budget=-1)
    with pytest.raises(ValueError, match="--takeover_rate"):
        make(AsyncFixBudgetSettings, **names, takeover_rate=1.5)
