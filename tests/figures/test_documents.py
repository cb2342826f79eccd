"""What the demo pair is trained on: never to err, and only what can be known."""

import itertools

import pytest
import solutions
import torch
from documents import BAD, GOOD, IGNORE, RECAP, Document, Writer
from hypothesis import given
from hypothesis import strategies as st
from solutions import BREAK, CORRECTION
from train import line_months
from transformers import PreTrainedTokenizerFast

from ATTS import demo
from ATTS.baselines.prompts import THINK
from ATTS.demo import family

TOKENIZER = PreTrainedTokenizerFast.from_pretrained(demo.MODELS["target"])
seeds = st.integers(0, 10**9)


def written(seed: int, corrects: bool, kind: str, error_rate: float = 0.5) -> tuple[family.Problem, Document]:
    problem = next(family.problems("train", seed))
    document: Document = getattr(Writer(TOKENIZER, error_rate, corrects, seed), kind)(problem)
    return problem, document


def learned(document: Document) -> list[str]:
    return [TOKENIZER.decode([label]) for label in document.labels if label != IGNORE]


@given(seeds, st.booleans(), st.sampled_from(["document", "drill", "recital"]))
def test_a_wrong_token_is_never_learned_and_every_other_label_is_the_token_itself(
    seed: int, corrects: bool, kind: str
) -> None:
    _, document = written(seed, corrects, kind)
    for token, label, slip in zip(document.ids, document.labels, document.slips, strict=True):
        assert label in (IGNORE, token)
        assert slip != 1 or label == IGNORE


@given(seeds)
def test_a_flawless_chain_is_learned_whole(seed: int) -> None:
    problem, document = written(seed, False, "document", error_rate=0.0)
    assert "".join(learned(document)) == solutions.solution(problem) + TOKENIZER.eos_token
    assert not any(slip == 1 for slip in document.slips)


@pytest.mark.parametrize("corrects", [True, False])
def test_only_one_who_corrects_learns_to_begin_a_correction(corrects: bool) -> None:
    documents = [written(seed, corrects, "document")[1] for seed in range(20)]
    begun = sum(TOKENIZER.decode([token]) == "Wait" for document in documents for token in document.ids)
    taught = sum(word == "Wait" for document in documents for word in learned(document))
    assert begun > 20
    assert taught == (begun if corrects else 0)


@given(seeds)
def test_a_score_says_whether_the_last_step_is_right(seed: int) -> None:
    problem = next(family.problems("train", seed))
    document = Writer(TOKENIZER, 0.3, True, seed).judged(problem)
    chain = TOKENIZER.decode(document.ids).split(THINK)[1].split(TOKENIZER.eos_token)[0]
    chain = chain.replace(RECAP + BREAK, "").removesuffix(BREAK)
    last = len(chain) - len(chain.split(BREAK)[-1])
    wrong = any(end > last for _, end in solutions.wrong_spans(problem, chain))
    assert learned(document)[-1] == (BAD if wrong else GOOD)


@given(seeds)
def test_a_recital_teaches_each_event_twice_and_nothing_else(seed: int) -> None:
    problem, document = written(seed, False, "recital")
    told = "".join(learned(document))
    lines = [f"{event.amount} {event.verb}" for event in problem.events]
    assert len(told) == 2 * sum(map(len, lines))
    assert all(told.count(line) >= 2 for line in lines)


@given(seeds)
def test_a_drill_teaches_no_month_and_asks_for_what_came_out_after_each_event(seed: int) -> None:
    problem, document = written(seed, False, "drill")
    assert not set(family.MONTHS) & {word.strip() for word in learned(document)}
    text = TOKENIZER.decode(document.ids)
    asked = text.split(BREAK)[-len(problem.events) - 1 : -1]
    assert {line.split(" = ")[0] for line in asked} == {f"Wait, after {event.month}" for event in problem.events}
    for line in asked:
        month, value = line.removeprefix("Wait, after ").removesuffix(".").split(" = ")
        steps = [s for s in text.split("\n") if s.startswith(month) and "=" in s]
        assert steps[-1].endswith(f" = {value}.")


@given(seeds)
def test_astray_is_what_departs_from_the_right_chain_and_begins_with_a_slip(seed: int) -> None:
    problem, document = written(seed, False, "document")
    start = document.astray.index(0)
    chain, slips, astray = "", set(), set()
    for k, token in enumerate(document.ids[start:-1], start):
        paragraph = chain.count(BREAK)
        slips |= {paragraph} if document.slips[k] == 1 else set()
        astray |= {paragraph} if document.astray[k] == 1 else set()
        chain += TOKENIZER.decode([token])
    departs = {chain[:start].count(BREAK) for start, _ in solutions.wrong_spans(problem, chain)}
    departs -= {i for i, paragraph in enumerate(chain.split(BREAK)) if paragraph == RECAP}
    assert slips <= departs == astray


def test_what_a_sloppy_solver_leads_to_is_met_in_training() -> None:
    """Wrong results carried to the closing step, and wrong places and values behind a torn "Wait, "."""
    closed, misnamed = 0, 0
    for seed in range(60):
        problem, document = written(seed, True, "document")
        paragraphs = TOKENIZER.decode(document.ids).split(BREAK)
        closing = solutions.paragraphs(problem)[-2]
        closed += sum(
            paragraph.startswith("Check") and paragraph != closing and then.startswith("Wait")
            for paragraph, then in itertools.pairwise(paragraphs)
        )
        misnamed += sum(p.startswith(CORRECTION) and p not in solutions.corrections(problem) for p in paragraphs)
    assert closed > 10
    assert misnamed > 10


def test_the_month_of_a_line_is_known_from_where_it_stands_up_to_the_break() -> None:
    text = "3 \nMarch 12 won.\nWait, after May = 4.\n\n12"
    ids = torch.tensor([TOKENIZER.encode(text, add_special_tokens=False)])
    words = [TOKENIZER.decode([i]) for i in ids[0].tolist()]
    told = line_months(
        ids,
        torch.tensor([[word.strip() in family.MONTHS for word in words]]),
        torch.tensor([["\n" in word for word in words]]),
    )
    months = ["" if i == IGNORE else TOKENIZER.decode([i]).strip() for i in told[0].tolist()]
    lines = {month: "".join(w for w, m in zip(words, months, strict=True) if m == month) for month in months}
    assert lines["March"].startswith("March 12 won")
    assert "\n" not in lines["March"]
    assert lines["May"] == "May = 4."
    assert lines[""].startswith("3 ")
    assert lines[""].endswith("\n\n12")
