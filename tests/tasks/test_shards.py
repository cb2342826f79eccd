"""Questions dealt to shards: each once, the same on every machine, about as much for each."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ATTS.tasks.datasets import Question
from ATTS.tasks.shards import Shard, deal, expected_length

TEXTS = st.lists(st.integers(0, 8000), max_size=60).map(
    lambda lengths: [Question(number, "x" * length, "1") for number, length in enumerate(lengths)]
)


@given(TEXTS, st.integers(1, 9), st.integers())
def test_each_question_is_in_one_shard_whatever_the_order_in_which_they_come(
    questions: list[Question], shards: int, seed: int
) -> None:
    dealt = deal(questions, shards)
    assert sorted(question.index for own in dealt for question in own) == list(range(len(questions)))
    assert all([q.index for q in own] == sorted(q.index for q in own) for own in dealt)
    mixed = random.Random(seed).sample(questions, len(questions))
    assert deal(mixed, shards) == dealt
    assert [Shard(number, shards).questions(questions) for number in range(1, shards + 1)] == dealt


@given(TEXTS, st.integers(1, 9))
def test_no_shard_has_more_than_the_least_and_one_question(questions: list[Question], shards: int) -> None:
    loads = [sum(map(expected_length, own)) for own in deal(questions, shards)]
    assert max(loads) - min(loads) <= max(map(expected_length, questions), default=0)


def test_long_questions_don_t_come_together() -> None:
    questions = [Question(number, "x" * (4000 if number < 4 else 100), "1") for number in range(40)]
    assert [sum(len(q.problem) == 4000 for q in own) for own in deal(questions, 4)] == [1, 1, 1, 1]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1.0/2", "²/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not i/n with i from 1 to n"):
        Shard.parse(text)


def test_a_shard_names_its_files() -> None:
    assert Shard.parse("2/8") == Shard(2, 8)
    assert (Shard(2, 8).name, str(Shard(2, 8))) == ("shard-2-of-8", "2/8")
