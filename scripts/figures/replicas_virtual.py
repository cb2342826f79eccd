"""1, 2, 4 and 8 servers a side on a virtual clock: speed-up, what stays cached, how even the work is.

    python scripts/figures/replicas_virtual.py

The production loop, placement (ATTS.serving.placement) and limits over emulated engines, a draft of 8B on one A100 and
a target of 32B on two for each server; chains as ``simulate`` draws them.
"""

import argparse
from typing import Any

from show import show

from ATTS.emulator.engine import Engine
from ATTS.method.chain import Chain, ModelView
from ATTS.method.loop import atts
from ATTS.method.take_over import ByScore, RejectionPolicy
from ATTS.runs.samples import Ended, Sample, run_samples
from ATTS.serving.limits import Limits
from ATTS.simulation import virtual
from ATTS.simulation.inprocess import Replica, Replicas
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import Workload, find_box, judge
from ATTS.store.records import Key, Keys
from ATTS.tasks.datasets import Question

PAIR = {"draft": Deployment.parse("8B:A100"), "target": Deployment.parse("32B:A100x2")}
TOKENS, TURNS = 500, 15


@virtual.timeless
async def run(each: int, work: Workload) -> dict[str, Any]:
    """All samples over so many servers a side."""
    script, texts = work.script()
    limits = Limits(longest=TURNS * (TOKENS + round(work.rejection_rate * TOKENS)))
    models = {
        role: Replicas([Replica(role, script, Engine(PAIR[role].timing()), limits.gate(0)) for _ in range(each)])
        for role in PAIR
    }
    for model in models.values():
        for one in model.servers:
            limits.add(one, one.gate, model.memory, adaptive=True)
    questions = [Question(number, text.text, "") for number, text in enumerate(texts)]
    prompts = [script.encode(text.text) for text in texts]

    def loop(key: Key) -> Sample:
        prompt = prompts[key.question.index]
        draft, target = (
            ModelView(model, script, prompt, prompt, TOKENS, 0.8, memory=model.memory) for model in models.values()
        )
        chain = Chain(find_box, draft, target)
        return chain, atts(chain, draft, target, ByScore(judge, RejectionPolicy()), TURNS)

    async def keep(one: Ended) -> None:
        limits.ended(one.chain)

    async with limits:
        await run_samples(Keys(questions, work.samples), loop, keep, limits.samples)
    found: dict[str, Any] = {"seconds": limits.seconds}
    for role, model in models.items():
        spent = [one.engine.spent for one in model.servers]
        busy = [one.prefilled + one.written for one in spent]
        found[role] = {
            "cached": sum(one.cached for one in spent) / sum(one.prompt for one in spent),
            "balance": max(busy) / (sum(busy) / each),
            "moved": sum(one.moved for one in model.servers),
        }
        for server in model.servers:
            await server.engine.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=400, help="16 samples each")
    parser.add_argument("--each", type=int, nargs="+", default=[1, 2, 4, 8], help="servers a side")
    args = parser.parse_args()
    work = Workload(questions=args.questions, samples=16, turns=TURNS, answers=0.35)
    rows, figures = [], {}
    for each in args.each:
        found = figures[str(each)] = run(each, work)
        first = figures[str(args.each[0])]["seconds"]
        row: list[object] = [f"{each} + {each}", f"{found['seconds'] / 60:.1f}", f"{first / found['seconds']:.2f}"]
        for role in PAIR:
            own = found[role]
            row += [f"{100 * own['cached']:.1f} %", f"{own['balance']:.2f}", own["moved"]]
        rows.append(row)
    columns = ["servers", "minutes", "times as fast"]
    columns += [f"{role}: {what}" for role in PAIR for what in ("cached", "busiest over mean", "chains moved")]
    show(columns, rows, figures)


if __name__ == "__main__":
    main()
