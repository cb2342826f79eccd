"""5 % of the requests fail, in every way there is: what becomes of the samples.

    python scripts/figures/server_faults.py --requests 10000

One run for each kind of failure, and one with all of them at once (0.5 % each), beside a run without. Texts and scores
follow from the prompt, so all decisions must be the same.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from emulated import data_set, forked, pair, told, waited
from interrupted import WHAT
from show import show

KINDS = {
    "status 429": "status,share=0.05,status=429",
    "status 503": "status,share=0.05,status=503",
    "status 520": "status,share=0.05,status=520",
    "reset": "reset,share=0.05",
    "half a body": "half,share=0.05",
    "wrong JSON": "bad_json,share=0.05",
    "an empty object": "empty,share=0.05",
    "other tokens": "other,share=0.05",
    "NaN": "nan,share=0.05",
    "null": "none,share=0.05",
    "one short": "short,share=0.05",
}
ALL = tuple(plan.replace("0.05", "0.005") for plan in KINDS.values())


def measure(faults: tuple[str, ...], questions: int) -> tuple[list[Any], int]:
    """What a run comes to, and how many requests were answered or spoilt."""
    with tempfile.TemporaryDirectory() as place, pair(*faults) as (urls, count):
        folder = Path(place)
        settings, command = (
            WHAT["run"].settings({**urls, "dataset_name": data_set(folder, questions)}, folder),
            WHAT["run"].command,
        )
        status = waited(forked(settings, command, folder / "log"))
        text = (folder / "log").read_text()
        assert status in (0, 2), text
        assert "Traceback" not in text
        assert "TRACEBACK" not in text
        return told(folder / "run"), count.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="about so many in each run")
    args = parser.parse_args()
    questions = max(1, args.requests // 154)  # 16 samples with 9.6 requests each
    right, asked = measure((), questions)
    rows, figures = [], {}
    for name, faults in {**{name: (plan,) for name, plan in KINDS.items()}, "all, 0.5 % each": ALL}.items():
        found, requests = measure(faults, questions)
        equal = sum(one == other for one, other in zip(right, found, strict=True))
        statuses = Counter(status for _, status, _ in found)
        made_up = sum(
            one != other and status not in ("server_failed", "score_failed", "cancelled")
            for one, other in zip(right, found, strict=True)
            for status in [other[1]]
        )
        figures[name] = {"samples": len(found), "equal": equal, "requests": requests, "statuses": dict(statuses)}
        failed = statuses["server_failed"] + statuses["score_failed"]
        rows.append([name, len(found), equal, failed, made_up, f"{requests / asked:.3f}"])
    figures["without"] = {"samples": len(right), "requests": asked}
    columns = [
        "failure",
        "samples",
        "identical",
        "owed",
        "other than without failures",
        "requests answered, of those without",
    ]
    show(columns, rows, figures)


if __name__ == "__main__":
    main()
