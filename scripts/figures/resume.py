"""How long a resumed run looks for what is already there: 10,000 finished samples.

    python scripts/figures/resume.py

Files of the size that MATH-500 samples have (8 kB of text), read by content as a resumed run reads
them; beside it the time that the standard library's JSON takes for the same files.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from show import show

from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain
from ATTS.method.types import Event, Stage, Usage
from ATTS.store.records import Digests, Keys, record
from ATTS.store.result_folder import ResultStore
from ATTS.tasks.datasets import Question

REPEATS = 16
TEXT = "Let $x$ be the number of \\emph{ways}; then \\frac{x}{2} = 7,\nso we go on.\n\n" * 18  # 1.3 kB, a chunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    args = parser.parse_args()
    questions = [Question(number, f"question {number}", "7") for number in range(args.samples // REPEATS)]
    keys = Keys(questions, REPEATS)
    chain = Chain(lambda text, ended: None)  # noqa: ARG005
    for turn in range(4):
        chain.history.append(Event(turn, Stage.DRAFT, Usage(700, 600, 500, 1.0, 5.0), output=TEXT))
        chain.history.append(Event(turn, Stage.SCORE, Usage(1200, 700, 0, 0.1, 0.2), ppl=1.5, percentile=0.3))
        if turn % 2:
            chain.history.append(Event(turn, Stage.CONTINUE, Usage(1200, 1100, 500, 2.0, 15.0), output=TEXT))
    digests: Digests = {"settings_digest": None, "calibration_digest": None}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ResultStore(folder, {"decisive": {}}, force=False) as store:
            for key in keys:
                told = record(key, chain, ExitStatus.ANSWERED, None, 20.0, digests)
                store.path(key.index).write_text(json.dumps(told, indent=1))
            size = sum(path.stat().st_size for path in folder.glob("problem_*")) / len(keys)
            cpu, began = time.process_time(), time.perf_counter()
            found = len(store.finished(keys))
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            began = time.perf_counter()
            for key in keys:
                json.loads(store.path(key.index).read_text())
            plain = time.perf_counter() - began
    figures = {"samples": found, "seconds": seconds, "cpu_seconds": cpu, "standard_library_seconds": plain}
    show(
        ["finished samples", "bytes each", "scan", "CPU", "the standard library's JSON"],
        [[f"{found:,}", f"{size:,.0f}", f"{seconds:.2f} s", f"{cpu:.2f} s", f"{plain:.2f} s"]],
        {**figures, "ratio": plain / seconds},
    )


if __name__ == "__main__":
    main()
