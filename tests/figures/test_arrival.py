"""Recorded runs in the order in which servers would have answered."""

from itertools import pairwise
from typing import Any

import guarantees_arrival
from hypothesis import given
from hypothesis import strategies as st

CHUNK = st.tuples(st.floats(1.1, 9), st.integers(1, 900), st.none() | st.integers(0, 900))


def sample(index: int, chunks: list[tuple[float, int, int | None]]) -> dict[str, Any]:
    history: list[dict[str, Any]] = []
    for turn, (ppl, drafted, continued) in enumerate(chunks):
        history += [
            {"turn": turn, "model": "small", "output": "a" * drafted},
            {"turn": turn, "model": "eval_ppl", "ppl": ppl},
        ]
        if continued is not None:
            history.append({"turn": turn, "model": "eval_generate", "output": "b" * continued})
    return {"problem_index": index, "full_history": history}


RUNS = st.lists(st.lists(CHUNK, max_size=4), min_size=1, max_size=40)


@given(RUNS, st.integers(1, 50), st.integers(0, 9))
def test_every_scored_chunk_comes_once_and_behind_those_before_it(
    chains: list[list[tuple[float, int, int | None]]], in_flight: int, seed: int
) -> None:
    found = [sample(index, chunks) for index, chunks in enumerate(chains)]
    order = guarantees_arrival.in_order(found, in_flight, seed)
    expected = [
        (index // 16, turn, sum(more is not None for *_, more in chunks[:turn]), score)
        for index, chunks in enumerate(chains)
        for turn, (score, _, _) in enumerate(chunks)
    ]
    assert sorted(order) == sorted(expected)
    if in_flight == 1:
        turns = [chunk.turn for chunk in order]
        assert all(turn in (0, before + 1) for before, turn in pairwise(turns))


def test_what_the_target_writes_delays_the_next_chunk_of_its_sample() -> None:
    found = [sample(0, [(5.0, 40, 400), (5.0, 40, None)]), sample(1, [(2.0, 40, None), (2.0, 40, None)])]
    assert [chunk.score for chunk in guarantees_arrival.in_order(found, 2, 0)] == [5.0, 2.0, 2.0, 5.0]
    assert [chunk.taken for chunk in guarantees_arrival.in_order(found, 2, 0)] == [0, 0, 0, 1]


@given(st.lists(st.lists(CHUNK, min_size=1, max_size=4), min_size=17, max_size=40))
def test_a_bound_is_never_exceeded_and_hands_over_no_more_than_the_mean(
    chains: list[list[tuple[float, int, int | None]]],
) -> None:
    figures = guarantees_arrival.budgets([sample(index, chunks) for index, chunks in enumerate(chains)], 1)
    assert figures["reached"]
    assert figures["bound: rate"] <= figures["mean: rate"]
