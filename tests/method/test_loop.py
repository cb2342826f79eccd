"""The chain and the loop, against scripted models that speak bytes."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_models import BAD, GOOD, JUDGE, TEXT, Scripted, reader, run

from ATTS.errors import ContextFull, ExitStatus, SampleError, ScoreFailed, ServerFailed
from ATTS.method.chain import Chain
from ATTS.method.loop import alone, atts
from ATTS.method.take_over import ByScore, OnRejection, RejectionPolicy
from ATTS.method.types import Generated, Stage, Usage
from ATTS.tasks.answers import find_answer


def stages(chain: Chain) -> str:
    return "".join({Stage.DRAFT: "d", Stage.SCORE: "s", Stage.CONTINUE: "c"}[event.stage] for event in chain.history)


def test_an_accepted_chunk_is_continued_by_the_draft() -> None:
    status, chain = run(Scripted(["one ", r"\boxed{7}"]), Scripted(logprobs=[GOOD]))
    assert (status, chain.answer, chain.text) == (ExitStatus.ANSWERED, "7", r"one \boxed{7}")
    assert stages(chain) == "dsd"


def test_a_rejected_chunk_stays_and_the_target_goes_on_behind_it() -> None:
    status, chain = run(Scripted(["wrong "]), Scripted([r"Wait, \boxed{8}"], [BAD]))
    assert (status, chain.answer, chain.text) == (ExitStatus.ANSWERED, "8", r"wrong Wait, \boxed{8}")
    assert stages(chain) == "dsc"
    assert chain.history[1].rejected
    assert chain.history[1].percentile == 1.0


def test_a_chunk_that_answers_is_not_scored() -> None:
    status, chain = run(Scripted([r"\boxed{7}"]), Scripted())
    assert status is ExitStatus.ANSWERED
    assert stages(chain) == "d"


def test_an_answer_split_over_two_authors_is_found() -> None:
    status, chain = run(Scripted([r"\box"]), Scripted(["ed{9}"], [BAD]))
    assert (status, chain.answer) == (ExitStatus.ANSWERED, "9")


def test_a_text_that_the_draft_ended_goes_to_the_target_unscored() -> None:
    status, chain = run(Scripted(["so it is$"]), Scripted([r" \boxed{1}"]))
    assert status is ExitStatus.ANSWERED
    assert stages(chain) == "dc"


@pytest.mark.parametrize(
    ("draft", "target", "scores", "expected"),
    [
        (["so$"], ["$"], [], ExitStatus.DRAFT_ENDED),
        (["$"], ["$"], [], ExitStatus.EMPTY_DRAFT),
        ([""], [""], [], ExitStatus.EMPTY_DRAFT),
        (["so$"], ["no$"], [], ExitStatus.TARGET_ENDED),
        (["so "], ["$"], [BAD], ExitStatus.TARGET_ENDED),
        (["a ", "b "], [], [GOOD, GOOD], ExitStatus.TURN_LIMIT),
        (["a ", "b "], ["c ", "d "], [BAD, BAD], ExitStatus.TURN_LIMIT),
        (["ANSWER: 4$"], [], [], ExitStatus.ANSWERED),
    ],
)
def test_every_way_to_end_has_its_status(
    draft: list[str], target: list[str], scores: list[float], expected: ExitStatus
) -> None:
    status, _ = run(Scripted(draft), Scripted(target, scores), turns=2)
    assert status is expected


@pytest.mark.parametrize("error", [ServerFailed("500"), ContextFull("full"), ScoreFailed("none")])
def test_an_error_of_one_sample_leaves_its_history_behind(error: SampleError) -> None:
    d, t = reader(Scripted(["one ", error])), reader(Scripted(logprobs=[GOOD]))
    chain = Chain(find_answer, d, t)
    with pytest.raises(type(error)):
        asyncio.run(atts(chain, d, t, ByScore(JUDGE), 15))
    assert stages(chain) == "ds"


def test_a_failed_score_is_neither_accepted_nor_rejected() -> None:
    with pytest.raises(ScoreFailed):
        run(Scripted(["one "]), Scripted(logprobs=[None]))


@given(st.lists(st.tuples(TEXT, st.booleans()), min_size=1, max_size=12))
def test_every_prompt_extends_the_last_one_and_scores_exactly_the_newest_chunk(turns: list[tuple[str, bool]]) -> None:
    """For any texts and decisions: append-only ids, the first token of the chunk scored, nothing else."""
    draft = Scripted([text.replace("$", "s") for text, _ in turns])
    target = Scripted(["+" for _, rejected in turns if rejected], [BAD if rejected else GOOD for _, rejected in turns])
    texts = list(draft.chunks)
    _, chain = run(draft, target, turns=len(turns))
    for prompts in (draft.written_after, target.written_after, [ids for ids, _ in target.scored]):
        for shorter, longer in itertools.pairwise(prompts):
            assert longer[: len(shorter)] == shorter
    for (ids, start), text in zip(target.scored, texts, strict=False):
        assert bytes(ids[start:]).decode() == text
    assert chain.text == "".join(event.output or "" for event in chain.history)


def test_a_chunk_that_stops_inside_a_character_leaves_it_to_the_next_author() -> None:
    euro = "€".encode()
    draft = Scripted([b"5 " + euro[:2], euro + rb" \boxed{5}"])
    status, chain = run(draft, Scripted(logprobs=[GOOD]))
    assert status is ExitStatus.ANSWERED
    assert chain.text == r"5 € \boxed{5}"
    assert draft.written_after[1] == list(b"<d>5 ")


@given(st.lists(st.tuples(TEXT, st.booleans()), min_size=1, max_size=12), st.sampled_from(["continue", "resample"]))
def test_drafting_ahead_changes_no_chain(turns: list[tuple[str, bool]], on_rejection: OnRejection) -> None:
    """Whatever is decided: same texts, decisions and end; each rejected chunk costs a draft that is noted."""

    class Ahead(Scripted):
        async def generate(
            self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
        ) -> Generated:
            self.written_after.append(list(ids))
            await asyncio.sleep(0)
            text = bytes(ids[3:]).decode()
            said = next(chunk for before, chunk in reversed(known) if text == before)
            return Generated(list(said.encode()), False, Usage(completion_tokens=len(said)))

    texts = [text.replace("$", "s").replace("\\", "/") for text, _ in turns]
    known: list[tuple[str, str]] = []
    before = ""
    for text, (_, rejected) in zip(texts, turns, strict=True):
        known.append((before, text))
        if rejected:
            known.append((before + text, "for nothing"))  # what the draft writes if it can't wait
        stays = not rejected or on_rejection == "continue"
        before += text * stays + "+" * rejected

    def chain(optimistic: bool) -> tuple[ExitStatus, Chain]:
        scores = [BAD if rejected else GOOD for _, rejected in turns]
        d = reader(Ahead(), "d")
        t = reader(Scripted(["+" for _, rejected in turns if rejected], scores), "t")
        made = Chain(lambda *_: None, d, t)
        rule = ByScore(JUDGE, RejectionPolicy(on_rejection))
        return asyncio.run(atts(made, d, t, rule, len(turns), optimistic)), made

    (plain_status, plain), (status, ahead) = chain(False), chain(True)
    assert status == plain_status
    assert [(e.stage, e.output, e.rejected) for e in ahead.history] == [
        (e.stage, e.output, e.rejected) for e in plain.history
    ]
    assert len(ahead.discarded) == sum(rejected for _, rejected in turns[:-1])
    assert plain.discarded == []


def test_a_chunk_drafted_ahead_fails_the_sample_only_if_it_is_wanted() -> None:
    async def go(score: float) -> ExitStatus:
        d = reader(Scripted(["one ", ServerFailed("500")]), "d")
        t = reader(Scripted([r"\boxed{8}"], [score]), "t")
        return await atts(Chain(find_answer, d, t), d, t, ByScore(JUDGE), 5, True)

    assert asyncio.run(go(BAD)) is ExitStatus.ANSWERED
    with pytest.raises(ServerFailed):
        asyncio.run(go(GOOD))


def test_a_model_alone_writes_until_it_answers_ends_or_runs_out_of_turns() -> None:
    for chunks, turns, expected in (
        (["a ", r"\boxed{2}"], 5, ExitStatus.ANSWERED),
        (["a ", "b$"], 5, ExitStatus.DRAFT_ENDED),
        (["$"], 5, ExitStatus.EMPTY_DRAFT),
        (["a ", "b "], 2, ExitStatus.TURN_LIMIT),
    ):
        model = reader(Scripted(chunks))
        assert asyncio.run(alone(Chain(find_answer, model), model, turns)) is expected


def test_a_model_alone_stops_when_its_token_budget_is_spent_and_never_writes_more() -> None:
    limits: list[int] = []

    class Counting(Scripted):
        async def generate(
            self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
        ) -> Generated:
            limits.append(max_tokens)
            return await super().generate(ids, max_tokens, temperature)

    model = reader(Counting(["12345678", "1234"]))
    chain = Chain(find_answer, model, token_budget=12)
    assert asyncio.run(alone(chain, model, 9)) is ExitStatus.BUDGET_SPENT
    assert limits == [8, 4]


class Limited(Scripted):
    """Writes as many tokens as it may, or a few less and then an answer."""

    def __init__(self, said: Sequence[str], scores: Sequence[float] = ()) -> None:
        super().__init__(said, scores)
        self.limits: list[int] = []

    async def generate(
        self, ids: Sequence[int], max_tokens: int, temperature: float, stop: Sequence[str] = ()
    ) -> Generated:
        assert max_tokens >= 1
        self.limits.append(max_tokens)
        written = self.chunks.pop(0).encode()[:max_tokens]
        await asyncio.sleep(0)
        return Generated(list(written), False, Usage(completion_tokens=len(written)))


@given(
    st.integers(1, 60),
    st.lists(st.booleans(), min_size=200, max_size=200),
    st.booleans(),
    st.sampled_from([RejectionPolicy(), RejectionPolicy("resample", 1, True), RejectionPolicy("resample", 3)]),
)
def test_a_chain_is_never_longer_than_its_token_budget_and_ends_when_that_is_spent(
    budget: int, rejections: list[bool], optimistic: bool, policy: RejectionPolicy
) -> None:
    """Whoever writes: both authors' chunks count, the last one is cut to what is left, and drafts that were
    thrown away, ahead or because they were rejected, cost nothing."""
    d = reader(Limited(["12345678"] * 500))
    t = reader(Limited(["abcde"] * 500, [BAD if rejected else GOOD for rejected in rejections]))
    chain = Chain(find_answer, d, t, token_budget=budget)
    assert asyncio.run(atts(chain, d, t, ByScore(JUDGE, policy), budget, optimistic)) is ExitStatus.BUDGET_SPENT
    assert len(chain.text) == budget == len(d.ids) == len(t.ids)
    assert chain.spent
    kept = [event for event in chain.history if not event.stage.discarded]
    assert sum(event.usage.completion_tokens for event in kept) == budget


def test_an_answer_that_takes_the_last_tokens_and_is_rejected_leaves_room_for_another() -> None:
    d, t = reader(Limited([r"\boxed{7}"])), reader(Limited([r"\boxed{8}"], [BAD]))
    for model in (d, t):
        model.max_tokens = 9
    chain = Chain(find_answer, d, t, token_budget=9)
    rule = ByScore(JUDGE, RejectionPolicy("resample", 1, True))
    assert asyncio.run(atts(chain, d, t, rule, 9)) is ExitStatus.ANSWERED
    assert (chain.answer, chain.text, chain.spent) == ("8", r"\boxed{8}", True)


def test_an_answer_in_the_last_tokens_of_the_budget_counts() -> None:
    d, t = reader(Limited(["12345678", r"\boxed{7}"])), reader(Limited([], [GOOD]))
    chain = Chain(find_answer, d, t, token_budget=16)
    assert asyncio.run(atts(chain, d, t, ByScore(JUDGE), 9)) is ExitStatus.BUDGET_SPENT  # the box would need nine
    d, t = reader(Limited(["1234567", r"\box", "ed{7}"])), reader(Limited([], [GOOD, GOOD]))
    chain = Chain(find_answer, d, t, token_budget=16)
    assert asyncio.run(atts(chain, d, t, ByScore(JUDGE), 9)) is ExitStatus.ANSWERED
