"""What a request costs on this side, and whether 500 in flight stay in flight.

    python scripts/figures/client.py

Against a server in another process that answers at once, with prompts of 4 kB on the wire: this
project's client, and for comparison the OpenAI client that the published driver uses. Then 500
requests in flight against a server that takes 0.5 s: the ceiling is 1,000 a second.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from instant import running
from show import show

from ATTS.console import event_loop, relieve_collector
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import ServerInfo, new_session

IDS = list(range(10_000, 10_680))  # 4 kB as JSON
INFO = ServerInfo(frozenset({"instant"}), "instant", None, 100_000, "0.5.23")
DELAY, SLOTS, CEILING_SLOTS = 0.5, 256, 500


async def hammer(request: Callable[[], Awaitable[object]], requests: int, in_flight: int) -> dict[str, float]:
    """``requests`` requests, so many at a time: a second, and CPU seconds of this process for each."""
    left = iter(range(requests))

    async def worker() -> None:
        for _ in left:
            await request()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"requests_per_second": requests / wall, "cpu_microseconds": 1e6 * cpu / requests, "cpu_share": cpu / wall}


async def ours(url: str, requests: int, in_flight: int) -> dict[str, float]:
    async with new_session(600) as session:
        model = SGLangModel(session, url, "instant", INFO, CapacityLimiter(in_flight), 3)
        await hammer(lambda: model.generate(IDS, 500, 0.8), in_flight, in_flight)  # connections
        return await hammer(lambda: model.generate(IDS, 500, 0.8), requests, in_flight)


async def openai(url: str, requests: int, in_flight: int) -> dict[str, float]:
    from openai import AsyncOpenAI

    text = "x" * len(orjson.dumps(IDS))
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client:

        async def request() -> object:
            return await client.chat.completions.create(
                model="instant", messages=[{"role": "user", "content": text}], max_tokens=500
            )

        await hammer(request, 16, 16)
        return await hammer(request, requests, in_flight)


def run(side: Callable[[str, int, int], Awaitable[dict[str, float]]], url: str, *numbers: int) -> dict[str, float]:
    async def measured() -> dict[str, float]:
        return await side(url, *numbers)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(measured())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    args = parser.parse_args()
    relieve_collector()
    with running() as url:
        mine = run(ours, url, args.requests, SLOTS)
        theirs = run(openai, url, max(256, args.requests // 20), SLOTS)
    with running(DELAY) as url:
        ceiling = run(ours, url, max(CEILING_SLOTS, args.requests), CEILING_SLOTS)
    share = ceiling["requests_per_second"] * DELAY / CEILING_SLOTS
    figures = {
        "ours": mine,
        "openai": theirs,
        "cpu_ratio": theirs["cpu_microseconds"] / mine["cpu_microseconds"],
        "share_of_ceiling": share,
    }
    show(
        ["client", "in flight", "requests/s", "CPU a request"],
        [
            ["this project's", SLOTS, f"{mine['requests_per_second']:,.0f}", f"{mine['cpu_microseconds']:.0f} us"],
            ["openai", SLOTS, f"{theirs['requests_per_second']:,.0f}", f"{theirs['cpu_microseconds']:.0f} us"],
            [
                f"this project's, server takes {DELAY} s",
                CEILING_SLOTS,
                f"{ceiling['requests_per_second']:,.0f} ({100 * share:.1f} % of the ceiling)",
                f"{ceiling['cpu_microseconds']:.0f} us",
            ],
        ],
        figures,
    )


if __name__ == "__main__":
    main()
