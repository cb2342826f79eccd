"""Speculative Thinking's state machine, over two emulated SGLang servers that say scripted texts."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import CHAT_TEMPLATE, SPECIAL
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, sglang
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ATTS import demo
from ATTS.baselines.speculative_thinking.loop import SEGMENT_TOKENS, Rules, speculative_thinking
from ATTS.baselines.speculative_thinking.sentiment import Keywords
from ATTS.baselines.speculative_thinking.thought import Thought
from ATTS.errors import ExitStatus
from ATTS.method.chain import ModelView
from ATTS.method.types import Stage
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import inspect, new_session
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.tasks.answers import find_answer

TOKENIZER = ModelTokenizer(str(demo.MODELS["target"]))
WORDS = Keywords(("verify", "check"), ("wait", "another"), ("yes", "confident"))
RULES = Rules(
    trigger_tokens=("\n\n",),
    keywords=WORDS,
    help_think_word=None,
    help_recap_words="Let me check whether there are some wrong steps:",
    choose_large=True,
    max_target_tokens=20,
    begin=False,
    begin_token_num=100,
    original_recap_token_num=125,
    recap_after_negative_num=15,
    add_each_recap=25,
    max_recap_token_num=200,
    add_each_neg=5,
    max_negative_num=30,
)
PROMPT = "<|user|>1 + 1? <think>\n<|end|><|assistant|>"
END = r"so \boxed{2}$"


def run(
    draft: list[str], target: list[str], tokenizer: str | None = None, **changes: Any
) -> tuple[ExitStatus, Thought, Script, Script]:
    rules = replace(RULES, **changes)
    said, says = Script(draft), Script(target)

    async def main() -> tuple[ExitStatus, Thought]:
        more = {"tokenizer": tokenizer} if tokenizer else {}
        async with sglang("draft", said, **more) as one, sglang("target", says) as two, new_session(30) as session:
            readers = []
            for role, url in (("draft", one), ("target", two)):
                own = ModelTokenizer(tokenizer) if tokenizer and role == "draft" else TOKENIZER
                info = await inspect(session, url, role, f"{role}-model")
                model = SGLangModel(session, url, role, info, asyncio.Semaphore(4), 0, 0.95, 50)
                ids = own.prompt("1 + 1? <think>\n")
                readers.append(ModelView(model, own, ids, ids, 1, 0.6))
            ends = (TOKENIZER.end, TOKENIZER.end) if rules.published else None
            thought = Thought(*readers, find_answer, rules.max_model_len, ends)
            return await speculative_thinking(thought, rules), thought

    status, thought = asyncio.run(main())
    assert "".join(e.output or "" for e in thought.history if not e.stage.discarded) == thought.text
    return status, thought, said, says


def take_overs(thought: Thought) -> list[tuple[str, int]]:
    return [(e.details["kind"], e.details["token_num"]) for e in thought.history if e.stage is Stage.CONTINUE]


def kept(thought: Thought) -> list[str]:
    return [str(event.output) for event in thought.history if event.output and not event.stage.discarded]


def test_a_probe_without_keywords_is_what_the_draft_goes_on_from() -> None:
    status, thought, draft, target = run(["a step.\n\n", "January sold ~", "it.\n\n", END], [])
    assert (status, thought.answer) == (ExitStatus.ANSWERED, "2")
    assert kept(thought) == ["a step.\n\n", "January sold ", "it.\n\n", r"so \boxed{2}"]
    size = len(TOKENIZER.encode("January sold "))
    assert [limit for _, limit in draft.asks] == [SEGMENT_TOKENS, 20, SEGMENT_TOKENS - size, 20]
    assert draft.asks[2][0] == PROMPT + "a step.\n\nJanuary sold "
    assert not target.asks


def test_a_probe_that_reaches_over_a_break_is_kept_up_to_it_and_the_next_paragraph_is_probed_anew() -> None:
    _, thought, draft, _ = run(["a.\n\n", "b.\n\nMay ~", END], [])
    assert thought.text == "a.\n\nb.\n\nso \\boxed{2}"
    assert [e.output for e in thought.history if e.stage is Stage.DRAFT_DISCARDED] == ["May "]
    assert draft.asks[2] == (PROMPT + "a.\n\nb.\n\n", 20)
    spent = sum(e.usage.completion_tokens for e in thought.history)
    texts = ["a.\n\n", "b.\n\nMay ", r"so \boxed{2}"]
    assert spent == sum(len(TOKENIZER.encode(text)) for text in texts) + 1  # the end of text


def test_published_throws_a_probe_without_keywords_away() -> None:
    _, thought, draft, _ = run(["a.\n\n", "January ~", "Wait, no.\n\n", "b~", END], [], published=True)
    assert thought.text == "a.\n\nWait, no.\n\nso \\boxed{2}"
    assert [prompt for prompt, _ in draft.asks[1:3]] == [PROMPT + "a.\n\n"] * 2
    assert [e.output for e in thought.history if e.stage is Stage.DRAFT_DISCARDED] == ["January ", "b"]


@pytest.mark.parametrize("probe", ["Wait, what ~", "yes, so ~"])
def test_affirmation_and_reflection_let_the_target_open_the_paragraph(probe: str) -> None:
    _, thought, draft, target = run(["a.\n\n", probe, END], ["Then ~"])
    assert take_overs(thought) == [("keyword", 20)]
    assert target.asks == [(PROMPT + "a.\n\n", 20)]  # it does not see the probe
    assert draft.asks[2][0] == PROMPT + "a.\n\nThen "
    assert thought.history[1].stage is Stage.DRAFT_DISCARDED


def test_a_verification_by_the_target_lets_it_go_on() -> None:
    _, thought, _, target = run(["a.\n\n", "Wait, ~", END], ["I verify ~", "and so on. ~"])
    assert take_overs(thought) == [("keyword", 20), ("verification", 125)]
    assert target.asks[1] == (PROMPT + "a.\n\nI verify ", 125)
    assert thought.text == "a.\n\nI verify and so on. so \\boxed{2}"
    # What counts is the text that is used: a probe that verifies is no verification if the target doesn't.
    assert take_overs(run(["a.\n\n", "check ~", END], ["then ~"])[1]) == [("keyword", 20)]


def test_too_many_reflections_bring_a_recap_unprobed_later_and_longer_each_time() -> None:
    draft, target = [], []
    for reflections in (2, 3, 4, 4):  # the limit grows by 1 up to 4
        for _ in range(reflections):
            draft += ["a.\n\n", "Wait, ~"]
            target.append("wait, ~")
        draft.append("b.\n\n")
        target.append("recap. ~")
    _, thought, said, says = run(
        [*draft, END],
        target,
        original_recap_token_num=30,
        recap_after_negative_num=2,
        add_each_recap=10,
        max_recap_token_num=45,
        add_each_neg=1,
        max_negative_num=4,
    )
    assert [tokens for kind, tokens in take_overs(thought) if kind == "recap"] == [30, 40, 45, 45]
    assert [kind for kind, _ in take_overs(thought)].count("keyword") == 2 + 3 + 4 + 4
    inserted = [event for event in thought.history if event.stage is Stage.INSERT]
    assert len(inserted) == 4
    assert says.asks[2] == (PROMPT + "a.\n\nwait, a.\n\nwait, b.\n\n" + RULES.help_recap_words, 30)
    assert not said.texts


def test_affirmations_are_no_reflections() -> None:
    _, thought, _, _ = run(["a.\n\n", "yes ~"] * 3 + [END], ["yes ~"] * 3, recap_after_negative_num=2)
    assert take_overs(thought) == [("keyword", 20)] * 3


@pytest.mark.parametrize(
    ("probe", "opening", "used"),
    [
        ("wait ~", "yes ~", "opening"),
        ("wait ~", "so ~", "opening"),
        ("wait ~", "wait ~", "probe"),
        ("yes ~", "wait ~", "opening"),
        ("yes ~", "yes ~", "probe"),
        ("yes ~", "so ~", "probe"),
    ],
)
def test_without_preference_the_target_is_used_only_where_it_is_of_another_mind(
    probe: str, opening: str, used: str
) -> None:
    _, thought, _, _ = run(["a.\n\n", probe, END], [opening], choose_large=False)
    text = {"probe": probe, "opening": opening}[used].removesuffix("~")
    assert thought.text == f"a.\n\n{text}so \\boxed{{2}}"
    stage = Stage.TARGET_DISCARDED if used == "probe" else Stage.DRAFT_DISCARDED
    assert [event.stage for event in thought.history if event.stage.discarded] == [stage]


def test_without_reasoning_the_target_opens_every_paragraph_and_the_very_first() -> None:
    _, thought, draft, target = run(["a.\n\n", "b ~", END], ["First ~", "Then ~"], not_reasoning=True, begin=True)
    assert take_overs(thought) == [("begin", 100), ("keyword", 20)]
    assert target.asks[0] == (PROMPT, 100)
    assert draft.asks[0][0] == PROMPT + "First "


def test_a_helping_word_stands_before_every_probe() -> None:
    _, thought, draft, _ = run(["a.\n\n", "b ~", END], [], help_think_word="So ")
    assert draft.asks[1][0] == PROMPT + "a.\n\nSo "
    assert thought.text == "a.\n\nSo b so \\boxed{2}"


def test_a_text_is_over_when_either_model_ends_it() -> None:
    assert run(["so$"], [])[0] is ExitStatus.DRAFT_ENDED
    assert run(["a.\n\n", "no$"], [])[0] is ExitStatus.DRAFT_ENDED  # in a probe that is kept
    assert run(["a.\n\n", "wait ~"], ["no$"])[0] is ExitStatus.TARGET_ENDED
    status, _, _, target = run(["a.\n\n", "wait ~"], [r"check: \boxed{1}$"])
    assert status is ExitStatus.ANSWERED
    assert len(target.asks) == 1  # no run behind the end


def test_published_notices_an_end_only_among_the_last_tokens() -> None:
    """A long run behind the end of an opening hides it, a short one doesn't."""
    long = "January " * 20 + "~"
    _, thought, _, target = run(["a.\n\n", "wait ~", END], ["check$", long], published=True)
    assert thought.text.endswith(r"so \boxed{2}")
    assert target.asks[1][0] == PROMPT + "a.\n\ncheck<|end|>"
    status, _, _, target = run(["a.\n\n", "wait ~"], ["check$", "January ~"], published=True)
    assert status is ExitStatus.TARGET_ENDED
    assert len(target.asks) == 2


def test_tokens_seconds_and_context_are_limited() -> None:
    status, thought, _, _ = run(["a.\n\n", "b ~"] * 30, [], max_tokens=60)
    assert status is ExitStatus.BUDGET_SPENT
    assert 60 < thought.length < 70
    assert run(["a.\n\n", "b ~"], [], max_tokens=1)[0] is ExitStatus.BUDGET_SPENT  # looked at behind a turn
    assert run([], [], time_out=1e-9)[0] is ExitStatus.TIME_LIMIT
    size = len(TOKENIZER.prompt("1 + 1? <think>\n"))
    assert run([], [], max_model_len=size + 100)[0] is ExitStatus.CONTEXT_FULL
    status, _, draft, _ = run(["a.\n\n", "b~", "c~"] * 40, [], max_model_len=size + 110)
    assert status is ExitStatus.CONTEXT_FULL
    assert draft.asks[0][1] == 110
    assert all(limit >= 1 for _, limit in draft.asks)


def test_a_break_is_looked_for_where_the_segment_ends_only() -> None:
    _, _, draft, _ = run(["a very long paragraph ~", "goes on.\n\n", END], [])
    assert [limit for _, limit in draft.asks] == [SEGMENT_TOKENS, SEGMENT_TOKENS, 20]


def test_models_that_write_nothing_come_to_an_end() -> None:
    assert run(["~"], [])[0] is ExitStatus.EMPTY_DRAFT


def test_draft_and_target_need_not_share_a_vocabulary(tmp_path: Path) -> None:
    """The draft's tokens are single bytes here; the target reads and writes its own."""
    core = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    own = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", additional_special_tokens=SPECIAL[2:])
    own.chat_template = CHAT_TEMPLATE
    own.save_pretrained(tmp_path)
    texts = ["5 € sold.\n\n", "Wait, ~", "b.\n\n", END]
    _, thought, draft, target = run(texts, ["then 7 € ~"], tokenizer=str(tmp_path))
    assert thought.text == "5 € sold.\n\nthen 7 € b.\n\nso \\boxed{2}"
    assert draft.asks[2][0] == PROMPT + "5 € sold.\n\nthen 7 € "
    assert target.asks[0][0] == PROMPT + "5 € sold.\n\n"
    assert thought.draft is not None
    assert len(thought.draft.ids) > len(thought.target.ids)


def test_keywords_are_whole_words_unless_as_published() -> None:
    inside = replace(WORDS, inside_words=True)
    for text, whole, published in (
        ("Checkerboard", 0, -1),
        ("eyes", 0, 1),
        ("await", 0, -1),
        ("Check: yes", -1, -1),
        ("yes, confident, wait", 1, 1),
        ("nothing", 0, 0),
    ):
        assert (WORDS.sentiment(text), inside.sentiment(text)) == (whole, published), text
    assert WORDS.verifies("let me CHECK")
    assert not WORDS.verifies("wait")


@given(st.lists(st.sampled_from(["verify", "wait", "yes", "so"]), max_size=8))
def test_a_sentiment_is_that_of_the_majority_and_a_tie_is_negative(words: list[str]) -> None:
    positive, negative = words.count("yes"), words.count("wait") + words.count("verify")
    expected = 1 if positive > negative else -1 if negative else 0
    assert WORDS.sentiment(" ".join(words)) == expected
