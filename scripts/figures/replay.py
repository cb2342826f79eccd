"""A replayed run against its recording: ``bash scripts/replay_recorded.sh`` (starts everything).

python scripts/figures/replay.py questions --recording run.jsonl.gz --out questions.jsonl
python scripts/figures/replay.py compare --recording run.jsonl.gz --output_dir results/replay
"""

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ATTS import console
from ATTS.errors import UserError
from ATTS.method.types import Stage
from ATTS.store.recording import read_recording
from ATTS.store.records import Record
from ATTS.store.result_folder import samples

Turn = tuple[str, str | None]  # what the draft wrote; what the target did, None if it was not asked


@dataclass(frozen=True)
class Sample:
    """What is compared of a sample. ``texts`` identify it: repeats may be played in any order."""

    texts: tuple[Turn, ...]
    percentiles: tuple[float | None, ...]
    rejected: tuple[bool | None, ...]
    answer: str | None


@dataclass
class Agreement:
    """Counts over all samples: how many there are and how many are equal."""

    samples: int = 0
    samples_equal: int = 0
    texts_equal: int = 0  # samples with all texts as recorded, hence with the stop turn as recorded
    percentiles: int = 0
    percentiles_equal: int = 0  # bit for bit
    decisions: int = 0
    decisions_equal: int = 0
    answers_equal: int = 0  # samples

    @property
    def complete(self) -> bool:
        return (
            self.samples == self.samples_equal == self.texts_equal == self.answers_equal > 0
            and self.percentiles == self.percentiles_equal
            and self.decisions == self.decisions_equal
        )


def from_recording(sample: dict[str, Any]) -> Sample:
    turns = sample["turns"]
    return Sample(
        texts=tuple((turn["draft_text"], turn["target_text"]) for turn in turns),
        percentiles=tuple(turn["percentile"] for turn in turns),
        rejected=tuple(turn["target_text"] is not None if turn["ppl"] is not None else None for turn in turns),
        answer=sample["final_answer"],
    )


def from_result(sample: Record) -> Sample:
    turns: dict[int, dict[str, Any]] = defaultdict(dict)
    for entry in sample["full_history"]:
        turns[entry["turn"]][entry["model"]] = entry
    said = [turns[number] for number in sorted(turns)]
    scores = [turn.get(Stage.SCORE, {}) for turn in said]
    return Sample(
        texts=tuple((turn[Stage.DRAFT]["output"], turn.get(Stage.CONTINUE, {}).get("output")) for turn in said),
        percentiles=tuple(score.get("percentile") for score in scores),
        rejected=tuple(score.get("rejected") for score in scores),
        answer=sample["final_answer"],
    )


def agreement(recorded_samples: Iterable[dict[str, Any]], output_dir: Path) -> Agreement:
    """Every recorded sample beside the result of the same question with the same texts."""
    produced: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples(output_dir):
        produced[sample["question"]].append(from_result(sample))
    counts = Agreement()
    for raw in recorded_samples:
        recorded = from_recording(raw)
        others = produced[raw["question"]]
        same = next((other for other in others if other.texts == recorded.texts), None)
        if same is not None:
            others.remove(same)
        _count(counts, recorded, same)
    return counts


def _count(counts: Agreement, recorded: Sample, same: Sample | None) -> None:
    counts.samples += 1
    counts.percentiles += len(recorded.percentiles)
    counts.decisions += len(recorded.rejected)
    if same is None:
        return
    counts.texts_equal += 1
    counts.samples_equal += recorded == same
    counts.answers_equal += recorded.answer == same.answer
    counts.percentiles_equal += sum(map(_equal, recorded.percentiles, same.percentiles))
    counts.decisions_equal += sum(map(_equal, recorded.rejected, same.rejected))


def _equal(one: object, other: object) -> bool:
    return one == other


def first_questions(recording: Path, count: int) -> dict[str, list[dict[str, Any]]]:
    """The samples of each of the first ``count`` questions of a recording (0: of all). Raises UserError."""
    by_question: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in read_recording(recording):
        by_question[sample["question"]].append(sample)
    return dict(itertools.islice(by_question.items(), count or None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("questions", "compare"))
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--max_problems", type=int, default=0, help="only the first N questions; 0 = all")
    parser.add_argument("--out", type=Path, help="where the questions go")
    parser.add_argument("--output_dir", type=Path, help="folder of the replayed run")
    args = parser.parse_args()
    wanted = args.out if args.what == "questions" else args.output_dir
    if wanted is None:
        parser.error("questions needs --out, compare needs --output_dir")
    try:
        chosen = first_questions(args.recording, args.max_problems)
        if args.what == "questions":  # as a data set of one's own; right or wrong does not matter here
            rows = ({"problem": problem, "answer": "not needed"} for problem in chosen)
            args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return
        counts = agreement(itertools.chain(*chosen.values()), args.output_dir)
    except UserError as problem:
        sys.exit(console.fail(problem))
    for field in fields(counts):
        print(f"{field.name:20} {getattr(counts, field.name)}")
    print(json.dumps({"recording": args.recording.name, **asdict(counts), "complete": counts.complete}))
    sys.exit(0 if counts.complete else 1)


if __name__ == "__main__":
    main()
