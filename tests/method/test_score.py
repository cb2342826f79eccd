"""Scores of log-probabilities, and that a failed score is never a number."""

import asyncio
import itertools
import math
import random
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ATTS.errors import ExitStatus, ScoreFailed
from ATTS.method.chain import Chain, ModelView
from ATTS.method.conformal import CalibrationSet
from ATTS.method.score import MEAN, REGRET, SCORES, SUM, WORST_TOKEN, Score, ScoreName, perplexity, recorded, scoring
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
            score(broken, len(values), [0.0] * len(values))
    with pytest.raises(ScoreFailed):
        REGRET([-60.0] * len(values), len(values), broken)


@pytest.mark.parametrize("expected", [0, 2, 4])
def test_a_wrong_number_of_log_probabilities_fails_the_score(expected: int) -> None:
    for score in SCORES.values():
        with pytest.raises(ScoreFailed) as caught:
            score([-0.1] * 3, expected, [-0.1] * expected)
        assert caught.value.status is ExitStatus.SCORE_FAILED


def test_regret_needs_as_many_best_tokens_and_none_that_is_less_likely_than_the_token_there() -> None:
    for best in (None, [-0.1] * 2, [-0.1] * 4, [-0.1, -0.1, -0.5]):
        with pytest.raises(ScoreFailed):
            REGRET([-0.2] * 3, 3, best)


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
        assert score(values, len(values), [0.0] * len(values)) >= score.least
        assert score([hair] * 5, 5, [hair] * 5) == score.least


@given(st.lists(st.tuples(st.floats(-20, -0.01), st.integers(1, 9)), min_size=2, max_size=20))
def test_the_sum_orders_chunks_of_one_length_like_the_mean_and_grows_with_length(
    chunks: list[tuple[float, int]],
) -> None:
    for (a, _), (b, n) in itertools.pairwise(chunks):
        assert (SUM([a] * n, n) < SUM([b] * n, n)) == (MEAN([a] * n, n) < MEAN([b] * n, n)) or a == pytest.approx(b)
        assert SUM([a] * (n + 1), n + 1) > SUM([a] * n, n)


FIVE_TOKENS = [-0.1, -2.0, -0.3, -4.0, -0.2, -1.0, -0.5]
OWN_CHOICES = [-0.1, -0.5, -0.3, -0.4, -0.1, -0.2, -0.5]  # regrets 0, 1.5, 0, 3.6, .1, .8, 0


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (MEAN, math.exp(8.1 / 7)),
        (SUM, 8.1),
        (scoring("worst_window"), (2 + 0.3 + 4 + 0.2 + 1) / 5),
        (scoring("worst_window", 2), 4.3 / 2),
        (scoring("worst_window", 1), 4.0),
        (scoring("worst_window", 9), 8.1 / 7),  # the chunk is shorter
        (WORST_TOKEN, 4.0),
        (REGRET, (3.6 + 1.5 + 0.8) / 3),
    ],
)
def test_each_score_of_fixed_log_probabilities(score: Score, expected: float) -> None:
    assert score(FIVE_TOKENS, 7, OWN_CHOICES) == pytest.approx(expected, rel=1e-12)


def test_a_chunk_with_fewer_tokens_than_three_regrets_them_all() -> None:
    assert REGRET([-2.0, -1.0], 2, [-0.5, -1.0]) == pytest.approx(0.75)
    assert REGRET([-2.0], 1, [-0.5]) == pytest.approx(1.5)


@given(logs, st.integers(1, 30), st.data())
def test_every_score_grows_where_a_token_becomes_less_likely(
    values: list[float], window: int, data: st.DataObject
) -> None:
    spot = data.draw(st.integers(0, len(values) - 1))
    worse = [value - data.draw(st.floats(0, 10)) * (place == spot) for place, value in enumerate(values)]
    for score in (*SCORES.values(), scoring("worst_window", window)):
        before, after = (score(chunk, len(values), [0.0] * len(values)) for chunk in (values, worse))
        assert after >= before * (1 - 1e-12)


@given(logs, st.integers(1, 30))
@example([-1.0, 0.0, 0.0, -1.0], 3)
def test_a_window_lies_between_the_worst_token_and_the_mean(values: list[float], window: int) -> None:
    """The mean of as many tokens as windows that cover the chunk hold: its own where they need not overlap."""
    n = len(values)
    held = math.ceil(n / min(n, window)) * min(n, window)
    found = scoring("worst_window", window)(values, n)
    assert WORST_TOKEN(values, n) >= found * (1 - 1e-12)
    assert found >= SUM(values, n) / held * (1 - 1e-12) - 1e-300
    assert scoring("worst_window", n)(values, n) == pytest.approx(math.log(MEAN(values, n)), abs=1e-9)
    assert scoring("worst_window", 1)(values, n) == WORST_TOKEN(values, n)


@given(st.lists(st.tuples(st.floats(-50, 0), st.floats(0, 1)), min_size=1, max_size=60), st.randoms())
def test_regret_is_nothing_for_the_targets_own_choices_and_at_most_the_worst_token(
    tokens: list[tuple[float, float]], shuffle: random.Random
) -> None:
    own, best = [value for value, _ in tokens], [value * share for value, share in tokens]
    found = REGRET(own, len(own), best)
    assert REGRET(best, len(own), best) == 0
    assert 0 <= found <= WORST_TOKEN(own, len(own)) * (1 + 1e-12)
    shuffle.shuffle(tokens)
    again = REGRET([value for value, _ in tokens], len(own), [value * share for value, share in tokens])
    assert again == pytest.approx(found)  # wherever in the chunk they stand


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
