"""Recorded runs in the order in which an emulated pair serves them, and which rule keeps the rate in it."""

import random
import statistics
from pathlib import Path
from typing import Any

import guarantees_served as served
import pytest

from ATTS.store.recording import read_recording


def recording(questions: int) -> list[dict[str, Any]]:
    """Samples of three turns whose scores stay high or stay low; the target writes much behind each high one, so
    that these reach the next turn late."""
    dice = random.Random(1)
    samples = []
    for index in range(questions * served.REPEATS):
        level = dice.random()
        turns = []
        for turn in range(3):
            score = 1.1 + level + dice.random() / 5
            text = f"{index}.{turn} " + "words " * 100
            more = f"more {index}.{turn} " + "words " * 100
            turns.append({"draft_text": text, "ppl": score, "target_text": more if score > 1.8 else None})
        turns.append({"draft_text": r"\boxed{1}" + f" {index}", "ppl": None, "target_text": None})
        question = index // served.REPEATS
        samples.append({"question_id": question, "question": f"question {question}", "turns": turns})
    return samples


@pytest.mark.parametrize("in_flight", [1, 20, 0])
def test_every_scored_chunk_is_decided_once_and_behind_those_before_it(in_flight: int) -> None:
    found = recording(3)
    order, under_way = served.served(found, in_flight, 0)
    assert sorted(c.score for c in order) == sorted(t["ppl"] for s in found for t in s["turns"] if t["ppl"])
    assert 0 < under_way <= (in_flight or len(found))
    for start in range(len(found)):
        own = [chunk for chunk in order if chunk.start == start]
        assert [chunk.turn for chunk in own] == [0, 1, 2]
        assert [chunk.last for chunk in own] == [False, False, True]
        assert [chunk.taken for chunk in own] == [sum(c.score > 1.8 for c in own[:turn]) for turn in range(3)]
    if in_flight == 1:
        assert [chunk.start for chunk in order] == sorted(chunk.start for chunk in order)


def test_where_rejected_samples_come_late_a_bank_alone_misses_and_a_level_a_turn_holds() -> None:
    """The gate of the figures, on data that fail it: 480 samples, all of them under way at once."""
    order, _ = served.served(recording(30), 480, 0)
    for name, kept in (("the bank alone", False), ("online", True)):
        assert served.holds(order, served.RULES[name](order)) is kept, name
    missed = {name: served.missed(order, rule(order)) for name, rule in served.RULES.items()}
    assert missed["the bank alone"][0] > served.OVERALL
    assert missed["completed samples only"][1] > served.AT_A_TURN
    assert missed["adaptive"][0] <= served.OVERALL


def test_on_recorded_runs_a_level_a_turn_holds_and_the_bank_alone_does_not(
    traces: Path,
) -> None:
    """One order of the fifteen in docs/GUARANTEES.md."""
    order, under_way = served.served(read_recording(traces / "traces_math500_ct1.jsonl.gz"), 0, 0)
    assert under_way > 50
    held = {name: served.holds(order, rule(order)) for name, rule in served.RULES.items()}
    assert held["online"]
    assert not held["the bank alone"]


@pytest.mark.parametrize("name", ["the bank alone", "completed samples only", "adaptive", "online"])
def test_where_nobody_is_late_every_rule_keeps_the_rate(name: str) -> None:
    """One sample at a time in 100 drawn orders: a single one misses by chance, their mean does not."""
    dice, samples, rates = random.Random(2), recording(2), []
    for _ in range(100):
        dice.shuffle(samples)
        order = [
            served.Scored(start, turn, 0, chunk["ppl"], turn == 2)
            for start, sample in enumerate(samples)
            for turn, chunk in enumerate(sample["turns"][:3])
        ]
        decided = served.RULES[name](order)
        rates.append(sum(decided) / len(decided))
    assert statistics.mean(rates) == pytest.approx(0.4, abs=0.02)


def test_a_turn_with_few_decisions_is_not_held_to_the_bound() -> None:
    order = [served.Scored(i, i // 300, 0, float(i), False) for i in range(400)]
    assert served.missed(order, [i < 120 or i >= 300 for i in range(400)]) == pytest.approx((0.15, 0.0))
    assert served.missed(order, [i < 160 for i in range(400)])[1] == pytest.approx(160 / 300 - 0.4)
