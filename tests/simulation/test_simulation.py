"""Virtual time, memory of emulated servers, adaptive limits, and what simulations say."""

import asyncio
import json
from pathlib import Path

import pytest
from conftest import door
from hypothesis import given, settings
from hypothesis import strategies as st
from one_queue import Recording

from ATTS.analysis.timing import covered, timing
from ATTS.emulator import Timing
from ATTS.emulator.engine import Engine, Job
from ATTS.errors import UserError
from ATTS.serving.load import parse
from ATTS.simulation import simulate as sweeps
from ATTS.simulation import virtual
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, Outcome, Workload, simulate

WORK = Workload(questions=6, samples=4, turns=6)
SMALL = Timing(step_seconds=0.02, kv_tokens=40_000)


def run(work: Workload = WORK, ways: DriverOptions = DriverOptions(), target: Timing = SMALL) -> Outcome:  # noqa: B008
    script, questions = work.script()
    timings = {"draft": Timing(step_seconds=0.01), "target": target}
    more = {"on_rejection": work.on_rejection}
    return simulate(script, questions, work.samples, work.turns, timings, ways, **more)  # type: ignore[arg-type]


def test_virtual_time_passes_at_once_and_in_order() -> None:
    async def wait() -> list[float]:
        times = []

        async def one(seconds: float) -> None:
            await asyncio.sleep(seconds)
            times.append(asyncio.get_running_loop().time())

        await asyncio.gather(one(3600), one(60), one(1e6))
        return times

    assert virtual.run(wait()) == [60, 3600, 1e6]


def test_waiting_for_what_never_comes_is_an_error_and_no_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        virtual.run(wait())


JOBS = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 200), st.floats(0, 5)), min_size=1, max_size=25)


@settings(max_examples=50)
@given(JOBS, st.integers(600, 1500), st.floats(0, 1))
def test_an_engine_serves_everybody_within_its_memory(
    jobs: list[tuple[int, int, float]], memory: int, reserve: float
) -> None:
    """Whatever comes when: all are finished, and no more tokens than fit were ever held."""

    async def serve() -> None:
        engine = Engine(Timing(step_seconds=0.01, kv_tokens=memory, reserve=reserve))

        async def one(number: int, prompt: int, output: int, after: float) -> None:
            await asyncio.sleep(after)
            job = Job([number % 3 + 1] * prompt, prompt, [9] * output)
            await engine.run(job)
            assert job.written == pytest.approx(output, abs=1e-3)

        await asyncio.gather(*(one(i, *job) for i, job in enumerate(jobs)))
        assert engine.spent.most_kv <= memory + 2 * len(jobs)  # to whole steps
        assert engine.cache.pinned == 0
        assert engine.cache.size <= memory
        assert not engine.running
        assert engine.spent.written == pytest.approx(sum(output for _, output, _ in jobs), abs=1e-3)
        await engine.stop()

    virtual.run(serve())


def test_an_aborted_request_gives_its_memory_back() -> None:
    async def serve() -> None:
        engine = Engine(Timing(step_seconds=0.01, kv_tokens=1000))
        job = asyncio.create_task(engine.run(Job([1] * 100, 100, [2] * 500)))
        await asyncio.sleep(1)
        assert engine.load().running == 1
        job.cancel()
        await asyncio.sleep(0)
        await engine.run(Job([3] * 10, 10, [4]))
        assert engine.load().token_usage == 0
        assert 90 <= engine.spent.written <= 110  # a second's steps, and one token
        await engine.stop()

    virtual.run(serve())


@pytest.mark.parametrize(
    ("pair", "running", "tokens_per_second"),
    [
        ("32B:A100x2", 1, 39),
        ("32B:A100x2", 2, 78),
        ("32B:A100x2", 3, 115),
        ("1.5B:A100", 1, 196),
        ("1.5B:A100", 16, 2937),
        ("8B:H100", 1, 158.34),  # SGLang's documentation, speculative decoding, the row without it
    ],
)
def test_the_roofline_agrees_with_the_recorded_speeds(pair: str, running: int, tokens_per_second: float) -> None:
    timing = Deployment.parse(pair).timing()
    assert running / timing.step(running, 500 * running) == pytest.approx(tokens_per_second, rel=0.03)


@pytest.mark.parametrize("text", ["9B:A100", "8B:B100", "8B", "8B:A100x0", "70B:A100"])
def test_a_pair_that_does_not_exist_or_fit_is_named(text: str) -> None:
    with pytest.raises(UserError, match=text.split(":")[0]):
        Deployment.parse(text).timing()


def test_a_simulation_is_exactly_repeatable() -> None:
    assert run() == run()


def test_optimistic_drafting_writes_the_same_chains_sooner_and_wastes_some_tokens() -> None:
    """With servers that have room to spare: one question at a time, few samples."""
    plain, ahead = (
        run(ways=DriverOptions(schedule="question")),
        run(ways=DriverOptions(schedule="question", optimistic=True)),
    )
    assert (plain.written, plain.turns) == (ahead.written, ahead.turns)
    assert ahead.seconds < plain.seconds
    assert ahead.engines["draft"]["written"] > plain.engines["draft"]["written"]
    assert plain.engines["draft"]["written"] == pytest.approx(plain.written["draft"])


@settings(max_examples=20)
@given(st.floats(0, 1), st.integers(0, 5), st.booleans(), st.booleans())
def test_replacing_rejected_chunks_makes_the_same_texts_in_turns_of_their_own(
    rate: float, seed: int, optimistic: bool, barrier: bool
) -> None:
    """Whoever writes and however it is driven; each replaced chunk costs the draft one that is discarded."""
    work = Workload(questions=4, samples=3, turns=6, rejection_rate=rate, seed=seed)
    replaced = Workload(questions=4, samples=3, turns=6, rejection_rate=rate, seed=seed, on_rejection="resample")
    ways = DriverOptions(optimistic=optimistic and not barrier, barrier=barrier)
    plain, found = run(work, ways), run(replaced, ways)
    assert sum(found.written.values()) == sum(plain.written.values())
    assert found.turns >= plain.turns
    assert found.discarded == found.written["target"]  # chunk for chunk, of the same lengths
    assert plain.discarded == 0
    if rate == 0:
        assert (found.written, found.turns) == (plain.written, plain.turns)


def test_a_barrier_makes_the_same_chains_later() -> None:
    ways = {"draft_limit": 4, "target_limit": 4, "samples_in_flight": 4}
    free = run(ways=DriverOptions(**ways))
    locked = run(ways=DriverOptions(**ways, schedule="question", barrier=True))
    assert free.written == locked.written
    assert free.seconds < locked.seconds


def test_with_one_sample_a_question_the_barrier_costs_nothing_and_one_question_at_a_time_all() -> None:
    times = {}
    for questions in (1, 8):
        work = Workload(questions=questions, samples=1, turns=6, answers=0.0)
        found = sweeps.compare(work, Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2"))
        times[questions] = {name: outcome.seconds for name, outcome in found.items()}
        ours = times[questions][sweeps.OURS]
        assert times[questions][sweeps.BARRIER] == pytest.approx(ours)
        assert times[questions][sweeps.QUESTION] == pytest.approx(times[questions][sweeps.ALL], rel=0.01)
    assert times[1][sweeps.QUESTION] == pytest.approx(times[1][sweeps.OURS])
    assert times[8][sweeps.QUESTION] > 4 * times[8][sweeps.OURS]


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 3))
def test_no_sample_waits_less_than_no_time_or_is_served_longer_than_it_takes(
    questions: int, samples: int, turns: int, barrier: bool, optimistic: bool, limit: int
) -> None:
    ways = DriverOptions(draft_limit=limit, target_limit=limit, barrier=barrier, optimistic=optimistic and not barrier)
    work = Workload(questions=questions, samples=samples, turns=turns)
    crowded = Timing(step_seconds=0.02, max_running=1)
    found = run(work, ways, crowded)
    assert found.waited >= -1e-6
    assert found.served >= 0
    assert found.intensity is None or found.intensity >= 0


def test_waiting_for_room_inside_a_server_is_waiting() -> None:
    async def serve() -> list[float]:
        engine = Engine(Timing(step_seconds=0.01, kv_tokens=0, max_running=1))
        jobs = [Job([1], 0, [2] * 100) for _ in range(3)]
        await asyncio.gather(*(engine.run(job) for job in jobs))
        await engine.stop()
        return [job.queued_seconds for job in jobs]

    first, second, third = virtual.run(serve())
    assert first == 0
    assert second == pytest.approx(1, abs=0.1)
    assert third == pytest.approx(2, abs=0.2)


def test_adaptive_limits_keep_the_chains_in_memory_where_no_limits_lose_them() -> None:
    work = Workload(questions=25, samples=8, turns=10)
    endless = run(work, DriverOptions(draft_limit=1000, target_limit=1000))
    adaptive = run(work)
    assert adaptive.written == endless.written
    assert endless.engines["target"]["hits"] < 0.6 < adaptive.engines["target"]["hits"]
    assert adaptive.seconds < 0.8 * endless.seconds
    assert adaptive.servers["target"]["forgotten"] < 0.1


def test_one_queue_and_adaptive_limits_on_a_recorded_run(traces: Path) -> None:
    """The figures of docs/PERFORMANCE.md, as bounds."""
    path = traces / "traces_math500_ct1.jsonl.gz"
    recording = Recording(path, Deployment.parse("8B:A100"), Deployment.parse("32B:A100x2"))
    question = recording.run(DriverOptions(draft_limit=16, target_limit=4, schedule="question"))
    queue = recording.run(DriverOptions(draft_limit=16, target_limit=4))
    adaptive = recording.run(DriverOptions())
    assert question.samples == queue.samples == adaptive.samples == 1120
    assert question.written == queue.written == adaptive.written
    assert queue.servers["target"]["slots_busy_until_queue_empty"] >= 0.97
    assert question.seconds >= 1.35 * queue.seconds
    assert question.seconds >= 4.5 * adaptive.seconds


def test_simulate_answers_and_refuses(tmp_path: Path) -> None:
    flags = ("--questions", "4", "--samples", "4", "--turns", "4", "--json")
    done = door("simulate", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {run["samples"] for run in told.values()} == {16}
    done = door("simulate", "--on_rejection", "resample", *flags[:-1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tokens of the draft were rejected and replaced" in done.stdout
    assert door("simulate", "--target", "9B:A100", cwd=tmp_path).returncode == 2


def test_a_page_of_metrics_is_read_over_all_workers_and_another_page_is_none() -> None:
    page = (
        '# HELP x\nsglang:num_running_reqs{model_name="m",tp_rank="0"} 3.0\nsglang:num_running_reqs{a="b"} 2.0\n'
        "sglang:num_queue_reqs 1.0\nsglang:token_usage 0.25\nsglang:num_retracted_reqs 7\n"
    )
    load = parse(page)
    assert load is not None
    assert (load.running, load.queued, load.token_usage, load.retracted) == (5, 1, 0.25, 7)
    assert parse("<html>") is None


def test_a_server_with_priorities_counts_its_requests_once() -> None:
    """It tells them in all and by priority; tokens only by priority."""
    page = "".join(
        f'sglang:{name}{{model_name="m",priority="{priority}"}} {value}\n'
        for name, values in (
            ("num_running_reqs", {"": 3, "0": 1, "1": 2, "None": 0}),
            ("num_queue_reqs", {"": 4, "1": 4}),
            ("prompt_tokens_total", {"0": 100, "1": 10}),
        )
        for priority, value in values.items()
    )
    load = parse(page)
    assert load is not None
    assert (load.running, load.queued, load.prompt_tokens) == (3, 4, 110)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=12))
def test_overlapping_spans_are_counted_once(spans: list[tuple[int, int]]) -> None:
    ticks = {tick for start, length in spans for tick in range(start, start + length)}
    assert covered((start, start + length) for start, length in spans) == len(ticks)


def test_the_intensity_sets_time_at_servers_against_waiting() -> None:
    entry = {"model": "small", "turn": 0, "at": 0.0, "queued": 2.0, "seconds": 6.0}
    told = timing([{"full_history": [entry], "duration_seconds": 9.0, "discarded": []}])
    assert told is not None
    assert told["asynchronous_arithmetic_intensity"] == 2.0
    assert told["by_stage"]["draft"] == {"serve_seconds": 6.0, "queue_seconds": 2.0}
    assert timing([{"full_history": [{"model": "small", "turn": 0}]}]) is None
