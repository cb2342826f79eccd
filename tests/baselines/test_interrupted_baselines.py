"""Chains of the baselines go on where they were interrupted, as those of ATTS do (tests/runs/test_under_way.py)."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from chances import PAIR, chance, cut_off
from conftest import ROOT

from ATTS.baselines.fixed_budget.run import evaluate_fixed_budget
from ATTS.baselines.flags import (
    AsyncFixBudgetSettings,
    SpecReasonSettings,
    SpeculativeThinkingSettings,
    SyncFixBudgetSettings,
)
from ATTS.baselines.prompts import SPEC_REASON_SCORE
from ATTS.baselines.spec_reason.run import evaluate_spec_reason
from ATTS.baselines.speculative_thinking.run import evaluate_speculative_thinking
from ATTS.emulator import Ask, Scripted, Served, Server, Written
from ATTS.flags import make
from ATTS.store.result_folder import samples
from ATTS.store.under_way import FOLDER

CHUNKS = {"repeats": 3, "turns": 5, "takeover_rate": 0.4, "small_model_max_tokens": 30, "evalator_max_tokens": 30}
STEPS = {"repeats": 2, "token_budget": 60, "score_threshold": 5.0, "step_max_tokens": 40}
THINKING = {"n": 2, "max_tokens": 140, "spe_config": Path("thinking.yml")}
RUNS: dict[str, tuple[Any, Callable[[Any], Coroutine[Any, Any, Any]], dict[str, Any]]] = {
    "spec_reason": (SpecReasonSettings, evaluate_spec_reason, STEPS),
    "speculative_thinking": (SpeculativeThinkingSettings, evaluate_speculative_thinking, THINKING),
    "async_fix_budget": (AsyncFixBudgetSettings, evaluate_fixed_budget, CHUNKS | {"takeover_budget": 0}),
    "sync_fix_budget": (SyncFixBudgetSettings, evaluate_fixed_budget, CHUNKS | {"takeover_budget": 0}),
}
IN_FLIGHT = 2


class Says:
    """Paragraphs, some of which doubt, by the prompt alone. ``asked`` counts what was asked for, by prompt."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()

    def write(self, ask: Ask) -> Written:
        if ask.text.endswith(SPEC_REASON_SCORE):
            return Written(str(chance(ask.text).randrange(10)), "length")
        self.asked[ask.role, ask.text] += 1
        dice = chance(ask.role, ask.text)
        doubt = dice.choice(("", "Wait, ", "Let me check. "))
        return Written(f"{doubt}{dice.randrange(10**6)}\n\n" + (r"\boxed{7}" if dice.random() < 0.1 else ""), "length")

    def scores(self, ask: Ask, start: int) -> list[float | None]:
        self.asked["score", ask.text] += 1
        dice = chance(ask.text)
        return [-dice.random() for _ in ask.ids[start:]]

    def digits(self, ask: Ask) -> dict[str, float]:
        self.asked["grade", ask.text] += 1
        return {str(chance(ask.text).randrange(10)): 0.9}


KEPT = ("turn", "model", "output", "discarded", "ppl", "percentile", "rejected", "score", "accepted", "part", "kind")


def told(folder: Path) -> list[str]:
    """What a run came to, without its clock and costs. Which of a question's samples is which doesn't matter: all begin
    alike here, and of equal ones the first to come is taken over."""
    return sorted(
        json.dumps(
            [s["question_index"], s["exit_status"], [{name: e.get(name) for name in KEPT} for e in s["full_history"]]]
        )
        for s in samples(folder)
    )


async def run(name: str, says: Says, place: Path, every: int = 0) -> int:
    """Runs to the end, interrupted after ``every`` requests. Returns how often it was."""
    kind, evaluate, more = RUNS[name]
    content = Scripted(says.write, says.scores, says.digits)
    draft, target = (Served(role=role, name=role[0], content=content) for role in ("draft", "target"))
    data = place / "data.jsonl"
    data.write_text("".join(json.dumps({"problem": f"question {i}", "answer": "7"}) + "\n" for i in range(3)))
    config = (ROOT / "configs/speculative_thinking/demo.yml").read_text()
    config = config.replace("demo-target", "t").replace("demo-draft", "d")
    (place / "thinking.yml").write_text(config)
    async with Server(draft) as one, Server(target) as two:
        flags: dict[str, Any] = {"small_model_url": one.url, "eval_model_url": two.url, **more}
        flags |= {"small_model_concurrency": IN_FLIGHT, "eval_model_concurrency": IN_FLIGHT}
        if name == "speculative_thinking":
            flags |= {"spe_config": place / "thinking.yml", "evals": str(data), "result_dir": place, "folder": "out"}
        else:
            flags |= {**PAIR, "dataset_name": str(data), "output_dir": place / "out"}
        for interrupts in range(100):
            work = evaluate(make(kind, **flags))
            if not every:
                await work
                return interrupts
            task, before = asyncio.ensure_future(work), says.asked.total()
            await cut_off(task, lambda before=before: says.asked.total() >= before + every)  # type: ignore[misc, arg-type]
            if not task.cancelled():
                await task
                return interrupts
    raise AssertionError("it makes no progress")


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_baseline_goes_on_where_it_was_and_comes_to_the_same(name: str, tmp_path: Path) -> None:
    whole, parts = Says(), Says()
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    asyncio.run(run(name, whole, tmp_path / "whole"))
    interrupts = asyncio.run(run(name, parts, tmp_path / "parts", every=15))
    assert interrupts >= 2
    assert told(tmp_path / "parts/out") == told(tmp_path / "whole/out")
    again = parts.asked - whole.asked
    assert again.total() <= 2 * IN_FLIGHT * interrupts  # requests in flight at both servers
    assert not whole.asked - parts.asked
    assert not (tmp_path / "parts/out" / FOLDER).exists()
