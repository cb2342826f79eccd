"""How evenly questions are dealt to shards, by what recorded chains took: the busiest shard over their mean.

python scripts/figures/shards.py --data DATA     # a folder with traces/; recorded runs are no part of this project
"""

import argparse
import gzip
import json
from collections import defaultdict
from pathlib import Path

from show import show

from ATTS.tasks.datasets import Question
from ATTS.tasks.shards import deal

RECORDINGS = ("ct1", "nonct")


def recorded(path: Path) -> tuple[list[Question], dict[int, int]]:
    """The questions of a recording, and the characters of all chains of each."""
    texts: dict[int, str] = {}
    took: defaultdict[int, int] = defaultdict(int)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for sample in map(json.loads, lines):
            number = sample["question_id"]
            texts[number] = sample["question"]
            for turn in sample["turns"]:
                took[number] += sum(len(value) for name, value in turn.items() if value and name.endswith("text"))
    return [Question(number, texts[number], "") for number in sorted(texts)], took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    rows, figures = [], {}
    for name in RECORDINGS:
        questions, took = recorded(args.data / f"traces/traces_math500_{name}.jsonl.gz")
        for shards in (2, 4, 8):
            ways = {
                "dealt": deal(questions, shards),
                "every n-th": [questions[first::shards] for first in range(shards)],
                "in a row": [
                    questions[first * len(questions) // shards : (first + 1) * len(questions) // shards]
                    for first in range(shards)
                ],
            }
            work = {way: [sum(took[question.index] for question in own) for own in ways[way]] for way in ways}
            busiest = {way: max(loads) * shards / sum(loads) for way, loads in work.items()}
            rows.append([name, len(questions), shards, *(f"{ratio:.2f}" for ratio in busiest.values())])
            figures[f"{name}, {shards}"] = busiest
    show(["recording", "questions", "shards", "by expected length", "every n-th", "in a row"], rows, figures)


if __name__ == "__main__":
    main()
