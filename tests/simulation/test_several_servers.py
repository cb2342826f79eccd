"""Several servers a side on the virtual clock: the same chains, sooner, and each chain with one server."""

import asyncio
import json

import pytest

from ATTS.emulator import Timing
from ATTS.flags import make
from ATTS.simulation.run import DriverOptions, Outcome, Workload, simulate
from ATTS.simulation.simulate import ONE_EACH, OURS, SimulateSettings, answer

WORK = Workload(questions=24, samples=8, turns=6)
TIMINGS = {
    "draft": Timing(step_seconds=0.01, step_seconds_per_request=0.002, kv_tokens=40_000),
    "target": Timing(step_seconds=0.02, step_seconds_per_request=0.002, kv_tokens=40_000),
}


def run(drafts: int, targets: int) -> Outcome:
    script, questions = WORK.script()
    options = DriverOptions(draft_replicas=drafts, target_replicas=targets)
    return simulate(script, questions, WORK.samples, WORK.turns, TIMINGS, options)


def test_more_servers_write_the_same_chains_sooner_and_evenly() -> None:
    one, two = run(1, 1), run(2, 2)
    assert two.written == one.written
    assert (two.samples, two.turns) == (one.samples, one.turns)
    assert one.seconds / two.seconds > 1.6
    assert two.longest_seconds <= two.seconds
    for role in ("draft", "target"):
        assert one.engines[role]["balance"] == 1
        assert two.engines[role]["balance"] < 1.2
        assert two.engines[role]["hits"] > one.engines[role]["hits"] - 0.03


def test_another_draft_alone_leaves_the_target_to_hold_the_run_back() -> None:
    one, drafts = run(1, 1), run(4, 1)
    assert drafts.engines["draft"]["busy"] < 0.9 * one.engines["draft"]["busy"]
    assert drafts.engines["target"]["busy"] > 0.9
    assert drafts.seconds > run(4, 4).seconds


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_command_takes_servers_a_side(replicas: int) -> None:
    flags = {"questions": 4, "samples": 4, "turns": 3, "draft_replicas": replicas, "target_replicas": replicas}
    told = json.loads(asyncio.run(answer(make(SimulateSettings, **flags, json=True))))
    assert (ONE_EACH in told) == (replicas > 1)
    assert replicas == 1 or told[OURS]["seconds"] <= told[ONE_EACH]["seconds"]
