"""Scores of log-probabilities, and that a failed score is never a number."""

import asyncio
import itertools
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.errors import ExitStatus, ScoreFailed
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import CalibrationSet
from ATTS.method.score import MEAN, SCORES, SUM, ScoreName, perplexity, recorded
from ATTS.method.types import Event, Generated, Stage, Usage
from ATTS.store.records import _entry

logs = st.lists(st.floats(-50, 0), min_size=1, max_size=200)


@given(logs)
def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities(values: list[float]) -> None:
    expected = math.prod(math.exp(value / len(values)) for value in values) ** -1
    assert perplexity(values, len(values)) == pytest.approx(expected, rel=1e-9)
    assert perplexity(values, len(values)) >= 1


@given(logs, st.data())
def test_any_missing_or_impossible_log_probability_fails_the_score(values: list[float], data: st.DataObject) -> None:
    broken: list[float | None] = list(values)
    spot = data.draw(st.integers(0, len(values) - 1))
    broken[spot] = data.draw(st.sampled_from([None, math.nan, math.inf, -math.inf, 0.5]))
    for score in SCORES.values():
        with pytest.raises(ScoreFailed):
            score(broken, len(values))


@pytest.mark.parametrize("expected", [0, 2, 4])
def test_a_wrong_number_of_log_probabilities_fails_the_score(expected: int) -> None:
    for score in SCORES.values():
        with pytest.raises(ScoreFailed) as caught:
            score([-0.1] * 3, expected)
        assert caught.value.status is ExitStatus.SCORE_FAILED


def test_an_overflowing_perplexity_fails_the_score() -> None:
    with pytest.raises(ScoreFailed, match="overflows"):
        perplexity([-1e6], 1)
    with pytest.raises(ScoreFailed, match="overflows"):
        SUM([-1e308] * 2, 2)


def test_the_table_of_scores_is_that_of_the_flag() -> None:
    assert tuple(SCORES) == get_args(ScoreName)
    assert len({score.key for score in SCORES.values()}) == len(SCORES)


@given(logs)
def test_the_sum_is_the_negative_log_likelihood_and_perplexity_its_share_by_tokens(values: list[float]) -> None:
    assert SUM(values, len(values)) == pytest.approx(-math.fsum(values), abs=1e-9)
    assert MEAN(values, len(values)) == pytest.approx(math.exp(SUM(values, len(values)) / len(values)), rel=1e-9)


@given(logs, st.floats(0, 1e-3), st.data())
def test_no_score_is_below_its_least_though_rounding_takes_a_log_probability_above_0(
    values: list[float], hair: float, data: st.DataObject
) -> None:
    values[data.draw(st.integers(0, len(values) - 1))] = hair
    for score in SCORES.values():
        assert score(values, len(values)) >= score.least
        assert score([hair] * 5, 5) == score.least


@given(st.lists(st.tuples(st.floats(-20, -0.01), st.integers(1, 9)), min_size=2, max_size=20))
def test_the_sum_orders_chunks_of_one_length_like_the_mean_and_grows_with_length(
    chunks: list[tuple[float, int]],
) -> None:
    for (a, _), (b, n) in itertools.pairwise(chunks):
        assert (SUM([a] * n, n) < SUM([b] * n, n)) == (MEAN([a] * n, n) < MEAN([b] * n, n)) or a == pytest.approx(b)
        assert SUM([a] * (n + 1), n + 1) > SUM([a] * n, n)


class Fixed:
    """A model with given log-probabilities, and a tokenizer whose tokens are characters."""

    def __init__(self, logprob: float) -> None:
        self.logprob = logprob

    async def generate(self, ids: list[int], max_tokens: int, temperature: float) -> Generated:
        return Generated(self.encode("a" * max_tokens), False, Usage())

    async def logprobs(self, ids: list[int], start: int) -> tuple[list[float | None], Usage]:
        return [self.logprob] * (len(ids) - start), Usage()

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@pytest.mark.parametrize(("logprob", "ppl"), [(-0.5, math.exp(0.5)), (-1000.0, None)])
def test_a_chunk_scored_by_the_sum_is_decided_by_it_and_keeps_its_perplexity_where_there_is_one(
    logprob: float, ppl: float | None
) -> None:
    model = Fixed(logprob)
    reader = ModelView(model, model, [1], [1], 6, 0.8)
    chain = Chain(lambda *_: None, reader, score=SUM)

    async def one() -> Event:
        await chain.extend(reader, 0, Stage.DRAFT)
        return await chain.score(reader, 0, CalibrationSet([2.9, 3.1, 1e9], 0.4))

    event = asyncio.run(one())
    assert event.score == pytest.approx(-6 * logprob)
    assert event.percentile == (1 / 3 if ppl else 2 / 3)
    entry = _entry(event, 0.0)
    assert (entry["ppl"], entry["sum"], recorded(entry)) == (ppl and pytest.approx(ppl), event.score, event.score)
    assert recorded({"ppl": 1.5}) == 1.5
    assert recorded({"ppl": None}) is None
