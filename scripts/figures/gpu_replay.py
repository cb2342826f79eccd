"""A finished run as a script for the simulator: its own lengths and decisions, at the speed of other machines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ATTS.method.types import Stage
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import BOX, DriverOptions, simulate
from ATTS.simulation.script import Chunk, Script, Turn
from ATTS.store import result_folder
from ATTS.store.records import HistoryEntry, Record

ACCEPTED, REJECTED = 1.1, 2.0  # scores on either side of the simulator's threshold


def turns(name: str, history: Sequence[HistoryEntry]) -> list[Turn]:
    """The turns of a sample: a draft's chunk, and what the target wrote behind it or, if discarded, in its place."""
    found: list[Turn] = []
    for number, entry in enumerate(history):
        stage = Stage(entry["model"])
        text = Chunk(f"{name}.{number}", max(1, entry.get("tokens", 1)))
        if stage in (Stage.DRAFT, Stage.DRAFT_DISCARDED):
            found.append(Turn(text, ACCEPTED, None, replaces=stage is Stage.DRAFT_DISCARDED))
        elif stage is Stage.CONTINUE:
            found[-1] = replace(found[-1], perplexity=REJECTED, continuation=text)
    if history[-1]["model"] == Stage.DRAFT.value:  # it held an answer, so it was not scored
        last = found[-1].draft
        found[-1] = replace(found[-1], draft=Chunk(last.text + BOX, last.tokens))
    return found


def prompt_tokens(sample: Record) -> int:
    """Of the question: what the first request of the sample's first author sent."""
    used = sample["usage"]["draft"]
    before, sent = 0, 0
    for entry in sample["full_history"]:
        if entry["model"] == Stage.DRAFT.value:
            sent += before
        if entry["model"] in (Stage.DRAFT.value, Stage.CONTINUE.value):
            before += entry.get("tokens", 0)
    return max(1, round((used["prompt_tokens"] - sent) / max(1, used["requests"])))


def predicted(folder: Path, draft: str, target: str, limits: tuple[int, int], alone: bool = False) -> float:
    """Tokens a second that the simulator tells for the chains of a run on two devices. Raises UserError."""
    pair = {"draft": Deployment.parse(draft), "target": Deployment.parse(target)}
    timings = {role: one.timing() for role, one in pair.items() if role == "target" or not alone}
    samples = list(result_folder.samples(folder))
    script = Script()
    questions: dict[int, Chunk] = {}
    for sample in samples:
        index = sample["question_index"]
        question = questions.setdefault(index, Chunk(f"question {index}", prompt_tokens(sample)))
        chain = turns(f"{index}.{sample['repeat']}", sample["full_history"])
        script.add(question, chain)
    longest = max(entry.get("tokens", 0) for sample in samples for entry in sample["full_history"])
    most = max(len(sample["full_history"]) for sample in samples)
    resample = any(turn.replaces for sample in samples for turn in turns("", sample["full_history"]))
    outcome = simulate(
        script,
        [questions[index] for index in sorted(questions)],
        len(samples) // len(questions),
        most,
        timings,
        DriverOptions(draft_limit=limits[0], target_limit=limits[1], target_alone=alone),
        tokens=(longest, longest),
        on_rejection="resample" if resample else "continue",
    )
    return outcome.tokens_per_second
