"""What a scored chunk is judged by: the text that was there when it was written."""

from typing import Any

import solutions
from kept_chunks import Chunk, chunks, shares
from solutions import BREAK

from ATTS.demo import family

PROBLEM = next(family.problems("test", 0))
FIRST, SECOND, *_ = (paragraph + BREAK for paragraph in solutions.paragraphs(PROBLEM))
WRONG = SECOND.replace("=", "= 9", 1)


def entry(turn: int, model: str, **more: Any) -> dict[str, Any]:
    return {"turn": turn, "model": model, **more}


def sample(*history: dict[str, Any]) -> dict[str, Any]:
    return {"question": PROBLEM.question, "question_index": 3, "full_history": list(history)}


def test_a_rejected_chunk_that_left_the_text_is_judged_and_what_replaces_it_is_not() -> None:
    told = sample(
        *(entry(0, "small", output=FIRST), entry(0, "eval_ppl", rejected=False)),
        *(entry(1, "small_discarded", discarded=WRONG), entry(1, "eval_ppl", rejected=True)),
        entry(1, "eval_generate", output=SECOND),
    )
    assert list(chunks(told)) == [Chunk(3, 0, False, True), Chunk(3, 1, True, False)]


def test_a_wrong_chunk_that_stays_makes_the_next_one_wrong_unless_it_is_taken_back() -> None:
    wrong = [entry(0, "small", output=FIRST + WRONG), entry(0, "eval_ppl", rejected=True)]
    back = solutions.correction(PROBLEM, 1, PROBLEM.values[1]) + BREAK
    mended = [entry(0, "eval_generate", output=back), entry(1, "small", output=SECOND)]
    assert [chunk.wrong for chunk in chunks(sample(*wrong, *mended, entry(1, "eval_ppl", rejected=False)))] == [
        True,
        False,
    ]


def test_shares_are_of_all_right_and_wrong_chunks() -> None:
    told = shares(
        [Chunk(0, 0, False, True), Chunk(1, 0, False, False), Chunk(1, 1, True, False), Chunk(2, 0, True, False)]
    )
    assert (told["chunks"], told["wrong"]) == (4, 0.5)
    assert [told[name]["share"] for name in ("kept", "right kept", "wrong kept")] == [0.25, 0.5, 0.0]
