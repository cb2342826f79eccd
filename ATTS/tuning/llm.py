"""A language model that proposes what to try next, behind any OpenAI-compatible endpoint."""

import json
import random
import re
from collections.abc import Sequence

from ATTS.console import say
from ATTS.tasks.llm import Endpoint, NoReply
from ATTS.tuning.archive import Trial
from ATTS.tuning.searchers import Next, Searcher, at_random, untried
from ATTS.tuning.space import Setting, Space

SYSTEM = "You choose experiments. Reply with one JSON object and nothing else."
SHOWN = 40  # trials in a prompt: the best, and the newest
ROOM = 200  # tokens of a reply


def searcher(endpoint: Endpoint) -> Searcher:
    """Asks the model for every trial; where its reply is no setting that is left, a random one is tried instead."""

    async def llm(space: Space, trials: Sequence[Trial], budget: float | None, dice: random.Random) -> Next:
        left = untried(space, trials)
        if not left:
            return None
        try:
            reply = await endpoint.ask(SYSTEM, prompt(space, trials, budget), ROOM)
            chosen = read(reply, left)
        except NoReply as error:
            say(f"the model {endpoint.model} gave no reply ({error}): a random setting is tried")
            chosen = None
        return (chosen, 1.0) if chosen else await at_random(space, trials, budget, dice)

    return llm


def prompt(space: Space, trials: Sequence[Trial], budget: float | None) -> str:
    """The space, what is known of sampling budgets, and what was tried."""
    lines = [
        "Find the setting with the highest score" + (f" whose cost is at most {budget:.4g}." if budget else "."),
        "A setting is a run (its models and rejection rate), the samples of a question, the turns of a sample, and a"
        " rule that stops sampling when the answers agree. The score is the share of questions whose vote is right.",
        "Runs prefer different numbers of samples at equal cost; more samples help up to a point, then no more; better"
        " samples need fewer of them.",
    ]
    values = {name: sorted({getattr(s, name) for s in space.settings}) for name in ("run", "turns", "repeats")}
    lines += [f"{name}: {json.dumps(found)}" for name, found in values.items()]
    rules = sorted({(s.stop, s.threshold or 0.0) for s in space.settings})
    lines += [f"stop and threshold (0: null): {json.dumps(rules)}", "Tried so far:"]
    best = sorted(trials, key=lambda trial: -trial.value(budget))[: SHOWN // 2]
    lines += [
        json.dumps(trial.setting.json() | {"score": round(trial.score, 4), "cost": round(trial.cost, 2)})
        for trial in dict.fromkeys([*best, *trials[-SHOWN // 2 :]])
    ]
    lines.append(
        'Reply with one that was not tried: {"run": ..., "turns": ..., "repeats": ..., "stop": ..., "threshold": ...}'
    )
    return "\n".join(lines)


def read(reply: str, left: Sequence[Setting]) -> Setting | None:
    """The setting that a reply holds, if it is one of those left."""
    found = re.search(r"\{[^{}]*\}", reply)
    try:
        told = json.loads(found[0]) if found else {}
        wanted = Setting(**{**told, "threshold": told.get("threshold") or None})
    except (ValueError, TypeError):
        return None
    return next((setting for setting in left if setting == wanted), None)
