"""With servers whose texts and scores follow from the prompt, how much is in flight changes nothing but the time."""

from pathlib import Path
from typing import Any

import pytest
from answering_draft import asking, making, with_servers
from chances import chance

from ATTS.emulator import Ask, Written
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.store.result_folder import samples


class Says:
    """All from the prompt alone."""

    def write(self, ask: Ask) -> Written:
        dice = chance(ask.role, ask.text)
        return Written(f" {dice.randrange(10**6)}" + (r" \boxed{7}" if dice.random() < 0.15 else ""), "length")

    def score(self, ask: Ask, start: int) -> list[float | None]:
        dice = chance(ask.text)
        return [-dice.random() for _ in ask.ids[start:]]

    def best(self, ask: Ask, own: Any) -> Any:
        return own


def told(folder: Path) -> list[Any]:
    kept = ("turn", "model", "output", "ppl", "percentile", "rejected")
    return [
        (s["problem_index"], s["exit_status"], [{name: e.get(name) for name in kept} for e in s["full_history"]])
        for s in samples(folder)
    ]


@pytest.mark.parametrize("kind", ["marginal", "per_question", "per_turn"])
def test_decisions_do_not_depend_on_how_much_is_in_flight(kind: str, tmp_path: Path) -> None:
    """One sample, 16, 256, all limits adaptive, and with drafts written ahead."""
    own, turns = kind == "per_question", 3 if kind == "per_turn" else 1
    flags = asking(tmp_path, 20)
    runs = {"1": {"samples_in_flight": 1}, "16": {"samples_in_flight": 16}, "256": {"samples_in_flight": 256}}
    runs |= {"adaptive": {}, "ahead": {"samples_in_flight": 64, "optimistic": True}}  # type: ignore[dict-item]
    rule = {} if kind == "marginal" else {"calibration": kind}

    def running(name: str) -> Any:
        more = {**rule, **runs[name], "repeats": 2, "turns": 4, "output_dir": tmp_path / name}
        return lambda pair: evaluate_async(make(AsyncSettings, **{**pair, **more}), own)

    made = {"turns": turns, "sample_size": 4 if kind == "per_question" else 2}
    with_servers(Says(), making(own, **made), *map(running, runs), **flags)  # type: ignore[arg-type]
    right = told(tmp_path / "1")
    assert len(right) == 40
    assert any(entry["rejected"] for _, _, history in right for entry in history)
    for name in runs:
        assert told(tmp_path / name) == right, name
