r"""What the runs of scripts/real_pair.sh say beyond their frontier (docs/REAL_PAIR.md).

python scripts/figures/real_pair.py results/real_pair [--show 3]

Gap closed: accuracy less the draft's, as a part of the target's less the draft's; intervals (95 %) by 10,000 bootstrap
samples of the questions. Endings: who wrote the chunk with which a sample ended, whether that was scored, how often it
is right. Boundaries: where a chunk ends and another request goes on, against cuts of the target's and the draft's own
uncut texts at the same distances. --show N: of each run, N samples that ended wrong with a chunk of the draft.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ATTS import console
from ATTS.analysis.tables import markdown, percent
from ATTS.flags import Part
from ATTS.method.types import Stage
from ATTS.store.records import Record
from ATTS.tasks.equivalence import Grader, Verdict
from ATTS.tradeoff import operating_points
from ATTS.tradeoff.operating_points import Point, Points

BOOTSTRAPS = 10_000
WORDS = 5  # in a row, that stand in the text before, too: a repetition
WRITTEN = {Stage.DRAFT.value: "draft", Stage.CONTINUE.value: "target"}


class RealPairFigures(Part):
    """Flags of this program."""

    folder: Path = Path("results/real_pair")
    """Of the runs."""

    show: int = 0
    """Samples to print of each run."""


def closed(points: Points, point: Point) -> str:
    """The part of the gap that ``point`` closes, with its interval."""
    assert points.draft is not None
    own, draft, target = (np.array([p.right[q] for q in points.ids]) for p in (point, points.draft, points.target))
    chosen = np.random.default_rng(0).integers(len(own), size=(BOOTSTRAPS, len(own)))
    gaps = (target - draft)[chosen].mean(1)
    shares = (own - draft)[chosen].mean(1)[gaps > 0] / gaps[gaps > 0]
    low, high = np.quantile(shares, (0.025, 0.975))
    mean = (own - draft).mean() / (target - draft).mean()
    return f"{percent(float(mean))} ({percent(float(low))} - {percent(float(high))})"


def cost(points: Points, point: Point) -> str:
    """Tokens that the target wrote, as a part of those that it writes alone."""
    return percent(point.cost.target_written / points.target.cost.target_written)


def texts(sample: Record) -> list[tuple[str, str]]:
    """Author and text of every chunk that stands, in order."""
    return [(WRITTEN[e["model"]], e["output"]) for e in sample["full_history"] if e["model"] in WRITTEN]


def ending(sample: Record) -> str:
    """Who wrote the last chunk, and whether it was scored."""
    last = [entry for entry in sample["full_history"] if entry["model"] in (*WRITTEN, Stage.SCORE.value)][-1]
    if last["model"] == Stage.SCORE.value:
        return "draft, scored"
    return "target" if last["model"] == Stage.CONTINUE.value else "draft, not scored"


def endings(point: Point, right: dict[int, bool]) -> list[tuple[object, ...]]:
    counts: dict[str, list[bool]] = defaultdict(list)
    for sample in point.samples:
        answered = sample["final_answer"] is not None
        counts[ending(sample) if answered else "no answer"].append(right[sample["problem_index"]])
    return [(point.name, who, len(found), percent(sum(found) / len(found))) for who, found in sorted(counts.items())]


def graded(points: Points) -> dict[str, dict[int, bool]]:
    """Whether each run's samples are right, by their numbers."""
    with Grader() as grader:
        found = {}
        for point in points.all:
            told = {s["problem_index"]: s for s in point.samples if s["final_answer"] is not None}
            verdicts = grader.compare([(s["reference_answer"], str(s["final_answer"])) for s in told.values()])
            right = {index for index, verdict in zip(told, verdicts, strict=True) if verdict is Verdict.EQUAL}
            found[point.name] = {s["problem_index"]: s["problem_index"] in right for s in point.samples}
    return found


def cuts(point: Point, every: float) -> Iterator[tuple[str, str]]:
    """The text before and behind each boundary; of a model alone, of cuts ``every`` so many characters."""
    for sample in point.samples:
        chunks = [text for _, text in texts(sample)]
        if point.alone:
            whole = "".join(chunks)
            places = [int(n * every) for n in range(1, int(len(whole) / every) + 1)]
        else:
            whole, places = "".join(chunks), list(np.cumsum([len(text) for text in chunks])[:-1])
        yield from ((whole[:place], whole[place:]) for place in places if whole[place:].strip())


def boundaries(point: Point, every: float) -> tuple[object, ...]:
    """Shares of boundaries inside a word, and of those behind which ``WORDS`` words come again at once."""
    found = list(cuts(point, every))
    inside = [bool(re.search(r"\w$", before) and re.match(r"\w", behind)) for before, behind in found]
    again = []
    for before, behind in found:
        words = re.findall(r"\S+", behind)[1 : WORDS + 1]  # the first may be the end of a word
        again.append(len(words) == WORDS and " ".join(words) in " ".join(re.findall(r"\S+", before)))
    n = max(len(found), 1)
    return point.name, len(found), percent(sum(inside) / n), percent(sum(again) / n)


def figures(settings: RealPairFigures) -> str:
    """The tables. Raises UserError."""
    points = operating_points.read([settings.folder])
    right = graded(points)
    both = [point for point in points.others if point.samples[0].get("full_history")]
    rates = [percent(p.summary["rejection_rate"]) for p in both]
    told = markdown(
        ("run", "rejected", "target's tokens", "gap closed (95 %)"),
        [(p.name, rate, cost(points, p), closed(points, p)) for p, rate in zip(both, rates, strict=True)],
    )
    last = [row for point in both for row in endings(point, right[point.name])]
    told += "\n\n" + markdown(("run", "last chunk", "samples", "right"), last)
    every = float(np.mean([len(text) for p in both for s in p.samples for _, text in texts(s)[:-1]]))
    cut = [boundaries(point, every) for point in points.all if point.alone or point in both]
    told += "\n\n" + markdown(("run", "boundaries", "inside a word", f"{WORDS} words again"), cut)
    for point in both:
        wrong = [s for s in point.samples if not right[point.name][s["problem_index"]] and ending(s) != "target"]
        for sample in wrong[: settings.show]:
            told += f"\n\n--- {point.name}, sample {sample['problem_index']}: {sample['final_answer']!r} for"
            told += f" {sample['reference_answer']!r}\n{sample['question']}\n"
            for entry in sample["full_history"]:
                score = {
                    k: round(float(str(v)), 2) for k, v in entry.items() if k in ("ppl", "worst_window", "percentile")
                }
                told += f"[{entry['model']} {score or ''}{' rejected' if entry.get('rejected') else ''}]"
                told += f" {entry.get('output', '')}\n"
    return told


async def main(settings: RealPairFigures) -> str:
    """Returns the tables. Raises UserError."""
    return figures(settings)


if __name__ == "__main__":
    console.run(RealPairFigures, __doc__, main)
