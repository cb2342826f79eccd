"""Rejected chunks that leave the text, against scripted models that speak bytes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from scripted_models import BAD, GOOD, JUDGE, TEXT, Scripted, reader

from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain
from ATTS.method.loop import atts
from ATTS.method.take_over import ByScore, RejectionPolicy
from ATTS.method.types import Stage
from ATTS.tasks.answers import find_answer


def resample(
    chunks: list[str], more: list[str], scores: list[float], attempts: int = 1, on_answers: bool = True
) -> tuple[ExitStatus, Chain, Scripted, Scripted]:
    draft, target = Scripted(chunks), Scripted(more, scores)
    d, t = reader(draft, "d"), reader(target, "t")
    chain = Chain(find_answer, d, t)
    rule = ByScore(JUDGE, RejectionPolicy("resample", attempts, on_answers))
    return asyncio.run(atts(chain, d, t, rule, 9)), chain, draft, target


def test_a_rejected_chunk_is_replaced_in_the_text_and_for_both_models() -> None:
    status, chain, draft, target = resample(["bad ", "so ", r"\boxed{1}"], ["good "], [BAD, GOOD, GOOD])
    assert status is ExitStatus.ANSWERED
    assert chain.text == r"good so \boxed{1}"
    assert target.written_after == [list(b"<t>")]  # where the rejected chunk began
    assert draft.written_after[1:] == [list(b"<d>good "), list(b"<d>good so ")]
    assert [ids for ids, _ in target.scored] == [
        list(b"[t]" + text) for text in (b"bad ", b"good so ", rb"good so \boxed{1}")
    ]
    assert [start for _, start in target.scored] == [3, 8, 11]
    assert [(event.stage, event.output) for event in chain.history if event.output is not None] == [
        (Stage.DRAFT_DISCARDED, "bad "),
        (Stage.CONTINUE, "good "),
        (Stage.DRAFT, "so "),
        (Stage.DRAFT, r"\boxed{1}"),
    ]


def test_a_wrong_answer_that_is_scored_can_be_replaced_and_one_that_is_not_ends_the_sample() -> None:
    status, chain, *_ = resample([r"\boxed{1}$"], [r"\boxed{2}"], [BAD])
    assert (status, chain.answer) == (ExitStatus.ANSWERED, "2")
    status, chain, *_ = resample([r"\boxed{1}$"], [], [], on_answers=False)
    assert (status, chain.answer) == (ExitStatus.ANSWERED, "1")
    status, chain, *_ = resample([r"\boxed{1}$"], ["$"], [BAD])  # the target has nothing to put in its place
    assert (status, chain.answer, chain.text) == (ExitStatus.TARGET_ENDED, None, "")


def test_a_rejected_chunk_is_drafted_again_before_the_target_writes() -> None:
    status, chain, draft, _ = resample(["a ", "b ", "c ", r"\boxed{1}"], ["t "], [BAD, BAD, GOOD, GOOD], attempts=2)
    assert status is ExitStatus.ANSWERED
    assert chain.text == r"t c \boxed{1}"
    assert draft.written_after[:2] == [list(b"<d>")] * 2
    assert [event.turn for event in chain.history if event.stage is Stage.DRAFT_DISCARDED] == [0, 0]


@given(st.lists(st.tuples(TEXT, st.booleans()), min_size=1, max_size=12))
def test_what_stays_of_a_chain_is_what_its_history_keeps(turns: list[tuple[str, bool]]) -> None:
    """For both models, whatever is rejected."""
    d = reader(Scripted([text.replace("$", "s") + " " for text, _ in turns]), "d")
    t = reader(Scripted(["+" for _, rejected in turns if rejected], [BAD if r else GOOD for _, r in turns]), "t")
    chain = Chain(lambda *_: None, d, t)
    asyncio.run(atts(chain, d, t, ByScore(JUDGE, RejectionPolicy("resample")), len(turns)))
    kept = "".join(event.output or "" for event in chain.history if event.stage in (Stage.DRAFT, Stage.CONTINUE))
    assert chain.text == kept == "".join("+" if rejected else text.replace("$", "s") + " " for text, rejected in turns)
    assert d.ids == t.ids == list(kept.encode())
