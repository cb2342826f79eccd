"""Whether writing waits for scoring on a server (docs/servers.md).

python scripts/figures/starving.py http://127.0.0.1:40001

12 texts of 48 tokens are asked for at once, beside 32 chains that score 8 chunks of 40 words one after the other.
"""

import asyncio
import random
import sys
import time

import aiohttp

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda")
WRITERS, TOKENS, CHAINS, CHUNKS, CHUNK = 12, 48, 32, 8, 40


async def main(url: str) -> None:
    """Prints the seconds after which texts and scores were there."""
    ended: dict[str, list[float]] = {"writing": [], "scoring": []}
    began, drawn = time.monotonic(), random.Random(1)
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(kind: str, body: dict[str, object]) -> None:
            async with session.post(f"{url}/generate", json=body) as reply:
                reply.raise_for_status()
                await reply.read()
            ended[kind].append(time.monotonic() - began)

        async def write(number: int) -> None:
            sampling = {"max_new_tokens": TOKENS, "temperature": 0.8, "ignore_eos": True}
            await ask("writing", {"text": f"Count from {number * 7} on: ", "sampling_params": sampling})

        async def score(number: int) -> None:
            text, sampling = f"chain {number} ", {"max_new_tokens": 0, "temperature": 0}
            for _ in range(CHUNKS):
                start = len(text.split())
                text += " ".join(drawn.choices(WORDS, k=CHUNK)) + " "
                scored = {"return_logprob": True, "logprob_start_len": start}
                await ask("scoring", {"text": text, "sampling_params": sampling, **scored})

        await asyncio.gather(*(write(i) for i in range(WRITERS)), *(score(i) for i in range(CHAINS)))
    for kind, seconds in ended.items():
        print(
            f"{kind}: {len(seconds)} requests, the mean ended after {sum(seconds) / len(seconds):.1f} s, the last"
            f" after {max(seconds):.1f} s"
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
