"""How long a setting takes on named GPUs: its chains' lengths and decisions on the virtual clock."""

from collections.abc import Sequence

from ATTS.method.conformal import Decision
from ATTS.runs.stopping import Stopping
from ATTS.simulation.roofline import Deployment
from ATTS.simulation.run import DriverOptions, simulate
from ATTS.simulation.script import Chunk, Script
from ATTS.simulation.script import Turn as Played
from ATTS.store.records import Key
from ATTS.tuning.replay import Run, Sample
from ATTS.tuning.space import Setting
from ATTS.votes.stop import rule

PROMPT = 150  # tokens of a question, which finished runs don't tell
REJECTED, ACCEPTED = 2.0, 1.1  # scores that stand for the decisions
ENDS = " \\ends"  # with this a chain's last text ends


def seconds(run: Run, setting: Setting, questions: Sequence[int], draft: Deployment, target: Deployment) -> float:
    """The wall time of all samples of ``questions``, by the production queue and limits. Raises UserError."""
    script, chunks, votes = Script(), [], {}
    longest = [1, 1]
    for number in questions:
        chunks.append(question := Chunk(f"question {number}", PROMPT))
        for repeat, sample in enumerate(run.questions[number][: setting.repeats]):
            name = f"{number}.{repeat}"
            answers = len(sample.turns) <= setting.turns
            votes[name] = sample.vote if answers else None
            script.add(question, _turns(name, sample, setting.turns, answers))
            for turn in sample.turns:
                longest = [max(longest[0], turn.draft), max(longest[1], turn.target or 0)]

    async def label(_: int, answer: str) -> str:
        return votes[answer] or ""

    def find(text: str, ended: bool) -> str | None:  # noqa: ARG001
        """The name of the sample whose chain ends so, if it has an answer."""
        name = text.rpartition("|")[2].removesuffix(ENDS)
        return name if text.endswith(ENDS) and votes[name] is not None else None

    def decide(score: float, turn: int = 0) -> Decision:  # noqa: ARG001
        return Decision(score, score > (REJECTED + ACCEPTED) / 2)

    def stopping(keys: Sequence[Key]) -> Stopping:
        return Stopping(rule(setting.stop, setting.threshold), keys, label)

    alone = run.alone is not None
    timings = {"target": (draft if run.alone == "draft" else target).timing()}
    if not alone:
        timings = {"draft": draft.timing(), **timings}
    replaces = any(turn.replaced for samples in run.questions.values() for s in samples for turn in s.turns)
    return simulate(
        script,
        chunks,
        setting.repeats,
        setting.turns,
        timings,
        DriverOptions(target_alone=alone),
        find,
        decide,
        (longest[0], longest[1]),
        on_rejection="resample" if replaces else "continue",
        stopping=stopping if setting.stop != "none" else None,
    ).seconds


def _turns(name: str, sample: Sample, most: int, answers: bool) -> list[Played]:
    """As a script plays them."""
    kept = sample.turns[:most]
    found = []
    for number, turn in enumerate(kept):
        last = f"|{name}{ENDS}" if answers and number == len(kept) - 1 else ""
        asked = turn.target is not None
        text = f"{name}.{number} draft" + ("" if asked else last)
        more = Chunk(f"{name}.{number} target{last}", turn.target or 1) if asked else None
        score = REJECTED if asked else ACCEPTED
        found.append(Played(Chunk(text, max(1, turn.draft)), score, more, turn.replaced and asked))
    return found
