"""Whole runs with models whose tokenizers have marks of their own: real files, servers emulated over HTTP."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_tokenizers import ALTERNATING, byte_level, metaspace, sentencepiece

from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store.result_folder import samples

THOUGHT, MARK, REPLY = r" it may be \boxed{1}, so", "\n</think>\n\nWell,", r" it is \boxed{2}."
WAIT = " wait,"
TARGETS: dict[str, Callable[[Path], Path]] = {
    "special there too": lambda folder: byte_level(folder, chat_template=ALTERNATING),
    "plain text there": lambda folder: metaspace(folder, "first"),
    "legacy SentencePiece": lambda folder: sentencepiece(folder, legacy=True, chat_template=ALTERNATING),
}


def run(folder: Path, target_made: Callable[[Path], Path], **flags: Any) -> tuple[dict[str, Any], list[Ask]]:
    """The one sample of a run whose draft thinks, ends its thoughts and replies, a chunk each; and all requests."""
    asked: list[Ask] = []

    def write(ask: Ask) -> Written:
        asked.append(ask)
        if ask.role == "target":
            return Written(WAIT, "length")
        if MARK in ask.text:
            return Written(REPLY, "stop")
        return Written(MARK if THOUGHT in ask.text else THOUGHT, "length")

    def score(ask: Ask, start: int) -> list[float | None]:
        asked.append(ask)
        return [-0.5] * (len(ask.ids) - start)

    made = {
        "draft": byte_level(folder / "draft", chat_template=ALTERNATING),
        "target": target_made(folder / "target"),
    }
    (folder / "questions.jsonl").write_text(json.dumps({"problem": "Which one?", "answer": "2"}) + "\n")

    async def go() -> None:
        content = Scripted(write, score)
        servers = [
            Server(Served(role=role, name=role, content=content, tokenizer=str(path))) for role, path in made.items()
        ]
        async with servers[0], servers[1]:
            chosen = make(AsyncSettings,
                small_model_name="draft", eval_model_name="target", small_model_url=servers[0].url,
                eval_model_url=servers[1].url, dataset_name=str(folder / "questions.jsonl"), repeats=1, turns=3,
                output_dir=folder / "run", **flags,
            )  # fmt: skip
            await evaluate_async(chosen, False)

    asyncio.run(go())
    (sample,) = samples(folder / "run")
    return sample, asked


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_counts_behind_a_special_mark_only_if_so_asked(tmp_path: Path, target: str, rate: float) -> None:
    """The mark is one token of the draft and stays in the text: the reply's box is the answer, the thought's is
    not, and the target scores the very text that the draft wrote, the mark among it."""
    flags = {"calibration": "online", "rejection_rate": rate, "use_chat_template": True}
    sample, asked = run(tmp_path, TARGETS[target], answer_after_think=True, **flags)
    assert (sample["exit_status"], sample["final_answer"]) == ("answered", "2")
    history = [(event["model"], event.get("output")) for event in sample["full_history"]]
    assert [text for author, text in history if author == "small"] == [THOUGHT, MARK, REPLY]
    more = WAIT if rate else ""
    scored = [ask.text for ask in asked if ask.role == "target" and ask.max_new_tokens == 0]
    assert [text[text.index(THOUGHT) :] for text in scored] == [THOUGHT, THOUGHT + more + MARK]
    own = ModelTokenizer(str(tmp_path / "draft"))
    (mark,) = own.encode("</think>")
    drafts = [ask for ask in asked if ask.role == "draft"]
    assert [list(ask.ids).count(mark) for ask in drafts] == [0, 0, 1]
    assert all("[INST] You are a math expert." in ask.text for ask in drafts)


def test_without_the_flag_the_first_box_is_the_answer(tmp_path: Path) -> None:
    sample, _ = run(tmp_path, TARGETS["special there too"], calibration="online")
    assert (sample["exit_status"], sample["final_answer"]) == ("answered", "1")
    assert [event["output"] for event in sample["full_history"]] == [THOUGHT]
