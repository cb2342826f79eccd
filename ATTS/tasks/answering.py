"""How answers are read off chains, by the flags that say so."""

from typing import Literal

from ATTS.tasks.answers import FindAnswer, after_think, find_answer, find_answer_not_balanced

ExtractMode = Literal["regex", "published", "llm"]


def reader(mode: ExtractMode, answer_after_think: bool) -> FindAnswer:
    """What looks for an answer while a chain grows. With ``llm`` the model reads it at the end only, so that
    it can't stop a chain early."""
    find = find_answer_not_balanced if mode == "published" else find_answer
    return after_think(find) if answer_after_think else find
