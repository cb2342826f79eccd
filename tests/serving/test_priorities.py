"""Scores come before what else waits, at a real server that takes priorities, as the demo's target does."""

import asyncio
import re

import pytest
from conftest import Pair

from ATTS.serving.client import SGLangModel
from ATTS.serving.load import Load
from ATTS.serving.replicas import reach
from ATTS.serving.server_info import new_session

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


def test_the_target_is_asked_for_scores_first_and_tells_its_load_as_before(servers: Pair) -> None:
    async def ask() -> tuple[str, Load | None]:
        url = f"http://127.0.0.1:{servers.target_port}"
        async with new_session(60) as session:
            model = SGLangModel.over(await reach(session, "target", [url], "demo-target", 4, 0, 60.0), 0)
            assert model.info.priorities
            endless = model.sampling(ignore_eos=True)
            writing = [asyncio.create_task(endless.generate([1, 2, number], 1000, 0.8)) for number in (3, 4)]
            load = None
            while not any(task.done() for task in writing) and (load is None or load.running < 2):
                load = await model.load()
            await model.logprobs([1, 2, 3], 1)
            await asyncio.gather(*writing)
            async with session.get(f"{url}/metrics", allow_redirects=True) as page:
                return await page.text(), load

    page, load = asyncio.run(ask())
    for priority in ("0", "1"):
        assert re.search(rf'sglang:prompt_tokens_total{{[^}}]*priority="{priority}"', page)
    assert load is not None
    assert load.running == 2  # and not 4: each request is told in all and by its priority
