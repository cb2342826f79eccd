"""Samples that wait for each other, and chains told again from a journal."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st
from scripted_models import Scripted as Model
from scripted_models import reader

from ATTS.method.barrier import Barrier
from ATTS.method.chain import Chain
from ATTS.method.loop import alone
from ATTS.method.replay import Replayed, Reply
from ATTS.tasks.answers import find_answer


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 10**6))
def test_nobody_goes_on_before_all_that_are_still_there_have_come(lengths: list[int], seed: int) -> None:
    """Each member leaves after its own number of steps; in some of them it doesn't wait."""
    dice = random.Random(seed)

    async def main() -> None:
        barrier = Barrier(len(lengths))
        reached = dict.fromkeys(range(len(lengths)), -1)

        async def member(steps: int) -> None:
            number = barrier.join()
            for step in range(steps):
                await asyncio.sleep(0)
                reached[number] = step
                if dice.random() < 0.2:
                    barrier.reach(number, step)
                    continue
                await barrier.arrive(number, step)
                assert min(reached.values()) >= step
            del reached[number]
            barrier.leave(number)

        await asyncio.wait_for(asyncio.gather(*map(member, lengths)), 10)

    asyncio.run(main())


def test_of_an_open_ended_barrier_those_that_have_joined_go_on_and_a_later_one_is_waited_for() -> None:
    async def main() -> None:
        barrier = Barrier(None)
        first = barrier.join()
        await barrier.arrive(first, 0)  # nobody else is there
        second = barrier.join()
        ahead = asyncio.create_task(barrier.arrive(first, 2))
        await barrier.arrive(second, 1)
        await asyncio.sleep(0)
        assert not ahead.done()
        barrier.leave(second)
        await ahead

    asyncio.run(main())


def test_a_member_that_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    async def main() -> None:
        barrier = Barrier(2)
        first, second = barrier.join(), barrier.join()
        waiting = asyncio.create_task(barrier.arrive(first, 0))
        await asyncio.sleep(0)
        waiting.cancel()
        barrier.leave(first)
        await barrier.arrive(second, 5)

    asyncio.run(main())


@given(st.integers(0, 4))
def test_a_chain_told_again_asks_only_for_what_its_journal_lacks(known: int) -> None:
    texts = ["a ", "b ", "c ", r"\boxed{1}"]
    journal: list[Reply] = []

    def run(model: Model, replies: list[Reply]) -> Chain:
        view = reader(model)

        async def keep(reply: Reply) -> None:
            journal.append(reply)

        view.model = Replayed(model, replies, keep)
        chain = Chain(find_answer, view)
        asyncio.run(alone(chain, view, 9))
        return chain

    whole = run(Model(list(texts)), [])
    replies = journal[:known]
    journal.clear()
    again = run(Model(texts[known:]), replies)  # raises IndexError if it is asked for more
    assert again.text == whole.text
    assert len(journal) == len(texts) - known
