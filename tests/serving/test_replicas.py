"""Several servers of one model: chains stay where their beginning is cached, and nothing is lost with a server."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chances import PAIR, chance
from hypothesis import given
from hypothesis import strategies as st
from made_tokenizers import byte_level

from ATTS.demo import MODELS
from ATTS.emulator import Ask, Scripted, Served, Server, Timing, Written
from ATTS.emulator.faults import Fault
from ATTS.errors import UserError
from ATTS.flags import make
from ATTS.runs.evaluate import evaluate_async
from ATTS.runs.settings import AsyncSettings
from ATTS.serving.affinity import Affinity
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.endpoint import Endpoint
from ATTS.serving.placement import BEGIN
from ATTS.serving.replicas import Replicas, common
from ATTS.serving.server_info import ServerInfo, new_session
from ATTS.store.result_folder import samples

QUESTIONS, REPEATS = 6, 8


def write(ask: Ask) -> Written:
    dice = chance(ask.role, ask.text)
    words = " ".join(str(dice.randrange(10**6)) for _ in range(12))
    return Written(f" {words}" + (r" \boxed{7}" if dice.random() < 0.1 else ""), "length")


def scores(ask: Ask, start: int) -> list[float | None]:
    return [-chance(ask.text).random() for _ in ask.ids[start:]]


def served(role: str, seconds: float = 0.0005, **more: Any) -> Served:
    timing = Timing(step_seconds=seconds, prefill_tokens_per_second=2e5)
    return Served(role=role, name=role[0], content=Scripted(write, scores), timing=timing, **more)


@asynccontextmanager
async def servers(**of: list[Served]) -> AsyncIterator[dict[str, list[Server]]]:
    async with AsyncExitStack() as stack:
        yield {role: [await stack.enter_async_context(Server(one)) for one in those] for role, those in of.items()}


def pairs(**more: Any) -> dict[str, list[Served]]:
    return {role: [served(role, **more) for _ in range(2)] for role in ("draft", "target")}


def settings(folder: Path, found: dict[str, list[Server]], **more: Any) -> AsyncSettings:
    data = folder / "data.jsonl"
    data.write_text(
        "".join(json.dumps({"problem": f"question {i} " * 20, "answer": "7"}) + "\n" for i in range(QUESTIONS))
    )
    flags = {
        "small_model_url": tuple(server.url for server in found["draft"]),
        "eval_model_url": tuple(server.url for server in found["target"]),
        "dataset_name": str(data),
        "repeats": REPEATS,
        "turns": 6,
        "quiet": True,
        "samples_in_flight": 16,
        "takeover": "random",
        "rejection_rate": 0.5,
        "stall_timeout": 1.0,
    }
    return make(AsyncSettings, **PAIR, **{**flags, **more})


def told(folder: Path) -> list[Any]:
    kept = ("turn", "model", "output", "ppl", "rejected")
    return [
        (s["problem_index"], s["exit_status"], [{name: e.get(name) for name in kept} for e in s["full_history"]])
        for s in samples(folder)
    ]


def by_server(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text())["servers"])


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the run comes to with one server a side."""
    folder = tmp_path_factory.mktemp("right")

    async def run() -> None:
        async with servers(draft=[served("draft", 0)], target=[served("target", 0)]) as found:
            await evaluate_async(settings(folder, found, output_dir=folder / "out"), per_question=False)

    asyncio.run(run())
    return told(folder / "out")


def test_chains_stay_questions_stand_together_and_the_servers_share_the_work(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> dict[str, list[Counter[str]]]:
        async with servers(**pairs()) as found:
            await evaluate_async(settings(tmp_path, found, output_dir=tmp_path / "out"), per_question=False)
            return {role: [Counter(one.chains) for one in those] for role, those in found.items()}

    chains = asyncio.run(run())
    assert told(tmp_path / "out") == right
    summary = by_server(tmp_path / "out")
    assert sorted(summary) == ["draft 1", "draft 2", "target 1", "target 2"]
    for role, of_servers in chains.items():
        one, two = map(set, of_servers)
        assert len(one | two) == QUESTIONS * REPEATS or role == "target"  # some end before the target is asked
        assert len(one & two) <= 0.1 * QUESTIONS * REPEATS  # moved on the way
        assert sum(len({name.rpartition("-s")[0] for name in those}) for those in (one, two)) <= 1.7 * QUESTIONS
        reports = [summary[f"{role} {number}"] for number in (1, 2)]
        tokens = [report["prompt_tokens"] for report in reports]
        assert max(tokens) <= 1.25 * sum(tokens) / 2
        assert sum(report["requests"] for report in reports) == sum(one.total() for one in of_servers)
        for report in reports:
            assert report["cached_share"] > (0.75 if role == "draft" else 0.5)


def test_what_a_killed_server_was_doing_is_done_elsewhere_and_it_works_again_when_it_is_back(
    tmp_path: Path, right: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> int:
        async with servers(**pairs()) as found, AsyncExitStack() as later:
            victim = found["target"][0]
            work = asyncio.create_task(
                evaluate_async(settings(tmp_path, found, output_dir=tmp_path / "out"), per_question=False)
            )
            await until(lambda: victim.chains.total() >= 20)
            port = int(victim.url.rpartition(":")[2])
            await victim.__aexit__()
            back = await later.enter_async_context(Server(served("target", port=port)))
            await work
            return back.chains.total()

    again = asyncio.run(run())
    assert told(tmp_path / "out") == right
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "has gone" in line and "go on at the other server" in line]) == 1
    assert (again > 0) == any("is back" in line for line in lines)


def test_a_server_that_hangs_loses_its_chains_to_the_other(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> None:
        hangs = served("draft", faults=(Fault.parse("hang,since=20"),))
        async with servers(draft=[hangs, served("draft")], target=[served("target")]) as found:
            chosen = settings(tmp_path, found, output_dir=tmp_path / "out", stall_timeout=1.0)
            await evaluate_async(chosen, per_question=False)

    asyncio.run(run())
    assert told(tmp_path / "out") == right


def test_a_run_ends_when_a_side_has_no_server_left_and_resumes(tmp_path: Path, right: list[Any]) -> None:
    async def run() -> None:
        async with servers(**pairs()) as found:
            chosen = settings(tmp_path, found, output_dir=tmp_path / "out", max_retries=1)
            work = asyncio.create_task(evaluate_async(chosen, per_question=False))
            await until(lambda: found["draft"][0].chains.total() >= 20)
            for one in found["draft"]:
                await one.__aexit__()
            with pytest.raises(UserError, match=r"no draft server is left: the last one, at http://.* has gone"):
                await work
        async with servers(**pairs()) as found:
            await evaluate_async(settings(tmp_path, found, output_dir=tmp_path / "out"), per_question=False)

    asyncio.run(run())
    assert told(tmp_path / "out") == right


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"tokenizer": "draft"}, "has another tokenizer than the first"),
        ({"template": True}, "has another chat template than the first"),
        ({"name": "t2"}, "serves t2, not t"),
    ],
    ids=["tokenizer", "template", "model"],
)
def test_a_server_with_another_model_is_refused_before_any_work(
    other: dict[str, Any], says: str, tmp_path: Path
) -> None:
    if other.get("tokenizer"):
        other = {"tokenizer": str(byte_level(tmp_path / "other"))}
    elif other.get("template"):
        other = {"tokenizer": another_template(tmp_path)}
    first, second = served("target", 0), served("target", 0)
    second = Served(**{**vars(second), **other})

    async def run() -> tuple[str, int]:
        async with servers(draft=[served("draft", 0)], target=[first, second]) as found:
            with pytest.raises(UserError) as refused:
                await evaluate_async(settings(tmp_path, found, output_dir=tmp_path / "out"), per_question=False)
            assert found["target"][1].url in str(refused.value)
            return str(refused.value), found["draft"][0].chains.total()

    message, asked = asyncio.run(run())
    assert says in message
    assert asked == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=150), st.integers(2, 5))
def test_no_server_gets_more_new_chains_than_the_bound(events: list[tuple[int, int]], count: int) -> None:
    """Chains of ten questions begin and end; whatever their order, one begins where few are."""

    async def run() -> None:
        async with new_session(5) as session:
            pool, _ = made(session, count)
            live: list[Affinity] = []
            for question, kind in events:
                if kind == 0 and live:
                    live.pop(question % len(live)).leave()
                    continue
                live.append(who := Affinity(f"{question}", f"q{question}"))
                least = min(one.chains for one in pool)
                chosen = pool.choose(who)
                assert pool.choose(who) is chosen
                assert chosen.chains <= max(least + 1, BEGIN * len(live) / count + 1)
            assert sum(one.chains for one in pool) == len(live)

    asyncio.run(run())


def test_a_chain_moves_only_when_requests_wait_at_its_server_while_others_have_room() -> None:
    async def run() -> None:
        async with new_session(5) as session:
            pool, (one, two) = made(session, 2)
            who = Affinity("a", "q")
            home = pool.choose(who)
            other = two if home is one else one
            home.asked = 50
            assert pool.choose(who) is home  # none of its requests waits
            home.waiting, other.asked = 10, 45
            assert pool.choose(who) is home  # about as many are at the other
            other.asked = 10
            assert pool.choose(who) is other
            assert (home.chains, other.chains) == (0, 1)
            assert pool.choose(who, avoid=[other]) is home
            who.leave()
            assert (home.chains, other.chains) == (0, 0)

    asyncio.run(run())


def test_of_several_servers_the_smallest_context_counts_and_memories_add_up() -> None:
    infos = [ServerInfo(frozenset({"m"}), "m", None, length, "0.5.23", 1000) for length in (100, 80, None)]
    assert common(infos).context_length == 80
    assert common(infos).kv_tokens == 3000


def another_template(folder: Path) -> str:
    """The target's files, but for a word in its template."""
    copy = shutil.copytree(MODELS["target"], folder / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    template = copy / "chat_template.jinja"
    template.write_text("Think first. " + template.read_text())
    return str(copy)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the emulated servers have no event
        await asyncio.sleep(0.005)


def made(session: Any, count: int) -> tuple[Replicas, list[Endpoint]]:
    info = ServerInfo(frozenset({"m"}), "m", None, None, "0.5.23")
    endpoints = [Endpoint(session, f"http://{n}", "draft", info, CapacityLimiter(8)) for n in range(count)]
    return Replicas(endpoints), endpoints
