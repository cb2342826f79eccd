"""5 % of the requests fail, in every way there is: what becomes of the samples.

    python scripts/figures/server_faults.py --requests 10000

One run for each kind of failure, and one with all of them at once (0.5 % each), beside a run without. Texts and scores
follow from the prompt, so all decisions must be the same. Owed: samples that failed for good, which the same command
tries again. Other: samples that ended by themselves with another text, score or decision than without failures.
Answered: of all samples, in percent. Requests: what the servers were sent, over what they were sent without failures.
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from emulated import data_set, forked, pair, told, waited
from interrupted import WHAT
from show import show

from ATTS.errors import ExitStatus
from ATTS.store.records import OWED
from ATTS.store.result_folder import samples

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
PLANS = {**{name: (plan,) for name, plan in KINDS.items()}, "all, 0.5 % each": ALL}


def sent(url: str) -> int:
    """Requests that came to an emulated server, whatever became of them."""
    with urllib.request.urlopen(f"{url}/emulated/chains") as page:  # noqa: S310
        return sum(json.load(page).values())


def measure(faults: tuple[str, ...], questions: int) -> tuple[list[Any], int, Counter[str]]:
    """What a run comes to, how many requests it sent, and why samples failed for good."""
    with tempfile.TemporaryDirectory() as place, pair(*faults) as (urls, _):
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
        why = Counter(str(one["reason"]) for one in samples(folder / "run") if one["exit_status"] in OWED)
        requests = sum(sent(urls[f"{role}_url"]) for role in ("small_model", "eval_model"))
        return told(folder / "run"), requests, why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="about so many in each run")
    parser.add_argument("--what", default=list(PLANS), nargs="+", choices=tuple(PLANS))
    args = parser.parse_args()
    questions = max(1, args.requests // 154)  # 16 samples with 9.6 requests each
    right, asked, _ = measure((), questions)
    share = answered(right)
    rows: list[list[object]] = []
    figures: dict[str, dict[str, Any]] = {"without": {"samples": len(right), "requests": asked, "answered": share}}
    for name in args.what:
        found, requests, why = measure(PLANS[name], questions)
        owed = sum(status in OWED for _, status, _ in found)
        other = sum(one != two and two[1] not in OWED for one, two in zip(right, found, strict=True))
        figures[name] = {"samples": len(found), "owed": owed, "other": other, "answered": answered(found)}
        figures[name] |= {"requests": requests, "statuses": Counter(status for _, status, _ in found), "why": why}
        rows.append([name, len(found), owed, other, f"{answered(found):.2f}", f"{requests / asked:.3f}"])
        print(rows[-1], dict(why), file=sys.stderr, flush=True)
    rows.append(["none", len(right), 0, 0, f"{share:.2f}", "1"])
    show(("failure", "samples", "owed", "other", "answered, %", "requests"), rows, figures)


def answered(found: list[Any]) -> float:
    """Percent of the samples."""
    return 100 * sum(bool(status == ExitStatus.ANSWERED) for _, status, _ in found) / len(found)


if __name__ == "__main__":
    main()
