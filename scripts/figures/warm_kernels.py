"""Every kind of request that a run sends, once to have its kernels compiled and once more to see that they are.

python scripts/figures/warm_kernels.py --draft http://127.0.0.1:40000 --target http://127.0.0.1:40001

For scripts/precompile_kernels.sh. The table has the seconds of each kind at each server, the first time and again.
"""

import asyncio
import itertools
import random
import time
from typing import Any

import aiohttp

from ATTS import console
from ATTS.analysis.tables import markdown
from ATTS.errors import UserError
from ATTS.flags import Part
from ATTS.serving import keys
from ATTS.serving.server_info import inspect, named, new_session, served_name

TOKENS = 64  # of a text
LONG = 1200  # ids of a long prompt: more than a page, less than any context here
MANY = 32  # requests at once
Request = dict[str, Any]


class Addresses(Part):
    """Flags of this program."""

    draft: str
    """URL of the draft server."""

    target: str
    """URL of the target server."""


def ids(length: int, number: int) -> list[int]:
    """A prompt of its own for every number; small ids, which every vocabulary has."""
    return random.Random(number).choices(range(10, 200), k=length)


def write(prompt: list[int], **sampling: Any) -> Request:
    """A request for text."""
    return {"input_ids": prompt, "sampling_params": {"max_new_tokens": TOKENS, "ignore_eos": True, **sampling}}


def score(prompt: list[int], start: int, **more: Any) -> Request:
    """A request for the log-probabilities of a prompt's end."""
    nothing = {"max_new_tokens": 0, "temperature": 0.0}
    return {"input_ids": prompt, "sampling_params": nothing, "return_logprob": True, "logprob_start_len": start, **more}


def kinds(context: int, first: int) -> dict[str, list[Request]]:
    """By name, what is sent at once; other prompts for every ``first``, so that nothing comes from the cache but where
    it should."""
    long, half = min(LONG, context // 2), min(LONG, context // 2) // 2
    prompts = (ids(TOKENS, first + number) for number in itertools.count(1))
    known = ids(long, first)
    two = {"return_logprob": True, "token_ids_logprob": [20, 21]}
    return {
        "a text, sampled": [write(next(prompts), temperature=0.8)],
        "a text, greedy": [write(next(prompts), temperature=0.0)],
        "top_p and top_k": [write(next(prompts), temperature=0.8, top_p=0.95, top_k=20)],
        "a text to a stop": [write(next(prompts), temperature=0.8, stop=["\n\n"], no_stop_trim=True)],
        "log-probabilities of a text": [write(next(prompts), temperature=0.8) | {"return_logprob": True}],
        "a score": [score(next(prompts), TOKENS // 2)],
        "a score and the best tokens": [score(next(prompts), TOKENS // 2, top_logprobs_num=1)],
        "probabilities of two tokens": [write(next(prompts), max_new_tokens=1, temperature=0.0) | two],
        "a long prompt": [write(known[:half], temperature=0.8)],
        "the same prompt, longer": [score(known, half)],
        f"{MANY} texts at once": [write(next(prompts), temperature=0.8) for _ in range(MANY)],
        f"{MANY} scores at once": [score(next(prompts), TOKENS // 2) for _ in range(MANY)],
    }


async def ask(session: aiohttp.ClientSession, url: str, role: str, bodies: list[Request]) -> float:
    """Sends all at once. Returns the seconds until all are answered. Raises UserError."""

    async def one(body: Request) -> None:
        async with session.post(f"{url}/generate", json=body, headers=keys.headers(role)) as reply:
            if reply.status != 200:
                raise UserError(f"the {role} server at {url} refused a request: {(await reply.text())[:300]}")
            await reply.read()

    began = time.perf_counter()
    await asyncio.gather(*map(one, bodies))
    return time.perf_counter() - began


async def main(addresses: Addresses) -> str:
    """The table. Raises UserError."""
    rows: dict[str, list[object]] = {}
    async with new_session(timeout=3600) as session:
        for role, url in (("draft", addresses.draft), ("target", addresses.target)):
            info = await inspect(session, url, role, await served_name(session, url, role))
            with named(role, url, "SGLang"):
                for first in (0, 1000):
                    for kind, bodies in kinds(info.context_length or 4 * TOKENS, first).items():
                        seconds = await ask(session, url, role, bodies)
                        rows.setdefault(kind, [kind]).append(f"{seconds:.2f}")
    return markdown(("requests", "draft, s", "again", "target, s", "again"), [tuple(row) for row in rows.values()])


if __name__ == "__main__":
    console.run(Addresses, __doc__, main)
