"""How well SpecReason's grades tell wrong steps from right ones, which the demo's problems decide.

python scripts/demo_pair/grades.py results/compare_demo/spec_reason
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import solutions

from ATTS.analysis.tables import percent
from ATTS.method.types import Stage
from ATTS.store.records import Record
from ATTS.store.result_folder import samples

DRAFTED = (Stage.DRAFT.value, Stage.DRAFT_DISCARDED.value)


def graded_steps(sample: Record) -> Iterator[tuple[bool, bool]]:
    """(holds a wrong step, accepted) of every step of the draft that was graded."""
    problem = solutions.parse(sample["question"])
    chain, history = "", sample["full_history"]
    for entry, following in zip(history, [*history[1:], None], strict=True):
        if entry["model"] in DRAFTED and following is not None and following["model"] == Stage.GRADE.value:
            step = (entry.get("output") or entry.get("discarded") or "").rstrip("\n") + solutions.BREAK
            wrong = solutions.wrong_spans(problem, chain + step)
            yield any(end > len(chain) for _, end in wrong), following["accepted"]
        chain += entry.get("output") or ""


def described(steps: Iterable[tuple[bool, bool]]) -> str:
    told = list(steps)
    lines = []
    for name, is_wrong in (("right", False), ("wrong", True)):
        accepted = [accepted for wrong, accepted in told if wrong is is_wrong]
        share = percent(sum(accepted) / len(accepted)) if accepted else "-"
        lines.append(f"{name} steps: {len(accepted)} graded, {share} accepted")
    return "\n".join(lines)


if __name__ == "__main__":
    print(described(step for sample in samples(Path(sys.argv[1])) for step in graded_steps(sample)))
