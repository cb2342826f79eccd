"""Input that wants to run something, to fill the memory, to take for ever, or to write elsewhere.

    python scripts/figures/hostile_input.py

Each is given to the command or reader that gets it, in a fork of this process. Told is what became of it (done, or
refused with one line), and the CPU seconds and the memory at the peak of the fork and of what it has started, above
those of a fork that does nothing. The program ends with an error where something was run, a file outside the folder was
made or changed, a control character came out, or the end was no line for people.
"""

import argparse
import asyncio
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adversarial
import made_run
import numpy as np
from emulated import forked
from show import show

from ATTS.analysis.compare import CompareSettings, compare
from ATTS.analysis.compute_accuracy import AccuracySettings, grade
from ATTS.analysis.re_extract import ReExtractSettings, re_extract
from ATTS.baselines.speculative_thinking import config_file
from ATTS.flags import make
from ATTS.store import calibration
from ATTS.tasks import datasets
from ATTS.tasks.equivalence import Grader

WITNESS = "witness"  # what hostile input would make
DONE, REFUSED = 0, 2
CODES = "\x1b[31m\x1b]0;title\x07\x9b2J\r\u202e\u2028 | <script>1</script> [a](http://a) `x`"
COLUMNS = ("input", "read by", "becomes", "CPU, s", "memory, MB")
Command = tuple[Any, Callable[[Any], Any]]  # settings and what runs with them


@dataclass(frozen=True)
class Case:
    """``made``: writes the input into a folder and says which command gets it."""

    name: str
    reader: str
    status: int
    made: Callable[[Path], Command]


class Runs:
    """A pickle that runs a command."""

    def __init__(self, folder: Path) -> None:
        self._file = folder.parent / WITNESS

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._file}",)


def reading(path: Path, read: Callable[[Path], object]) -> Command:
    async def command(_: Path) -> None:
        read(path)

    return path, command


def array(content: Callable[[Path], bytes]) -> Callable[[Path], Command]:
    def made(folder: Path) -> Command:
        path = folder / "a.npy"
        path.write_bytes(content(folder))
        return reading(path, lambda path: calibration.load(path, None))

    return made


def header(shape: str, content: bytes, kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def description(folder: Path) -> Command:
    path = folder / "a.npy"
    calibration.save(path, np.array([1.5, 2.5]), {})
    calibration.provenance_path(path).write_text("[" * 100_000)
    return reading(path, lambda path: calibration.load(path, None))


def rules(text: Callable[[Path], str]) -> Callable[[Path], Command]:
    def made(folder: Path) -> Command:
        path = folder / "a.yml"
        path.write_text(text(folder))
        return reading(path, config_file.load)

    return made


def laughs() -> str:
    """A text of aliases that would be a thousand million words."""
    lines = ["a0: &a0 [x]", *(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(9))]
    return "\n".join(lines)


def rows(line: str) -> Callable[[Path], Command]:
    def made(folder: Path) -> Command:
        path = folder / "a.jsonl"
        path.write_text(f"{json.dumps({'problem': 'p', 'answer': '7'})}\n{line}\n")
        return reading(path, lambda path: datasets.load(str(path)))

    return made


def run_of(folder: Path, text: str, **more: Any) -> Path:
    """A run of four samples, of which the second ends with such a text, and has these fields."""
    run = made_run.write(folder / "run", 4, 1, turns=2, words=5)
    path = run / "problem_0001.json"
    sample = json.loads(path.read_text())
    sample["full_history"][-1]["output"] = text
    path.write_text(json.dumps(sample | more))
    return run


def read_again(text: str, **more: Any) -> Callable[[Path], Command]:
    return lambda folder: (make(ReExtractSettings, input_dir=run_of(folder, text, **more)), re_extract)


def linked(folder: Path) -> Command:
    """A sample that is a link to a file outside the folder."""
    run = run_of(folder, "\\boxed{5}", final_answer="6")
    path, outside = run / "problem_0001.json", folder.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    return make(ReExtractSettings, input_dir=run), re_extract


def graded(folder: Path) -> Command:
    run = run_of(folder, CODES, final_answer=CODES, reference_answer=CODES[:-1], question=CODES)
    named = run.rename(run.with_name(f"run{CODES.replace('/', '')}"))
    return make(AccuracySettings, output_dir=named, per_question=True), grade


def beside(folder: Path) -> Command:
    graded(folder)
    (named,) = folder.iterdir()
    return make(CompareSettings, runs=(named, named)), compare


def compared(pairs: list[tuple[str, str]]) -> Callable[[Path], Command]:
    async def command(_: Path) -> None:
        with Grader() as grader:
            await asyncio.to_thread(lambda: list(grader.compare(pairs)))

    return lambda folder: (folder, command)


ENDLESS = ("x^2+1", r"\prod_{k=1}^{9999} (k+x)^{99}")
CASES = (
    Case("nothing", "-", DONE, lambda folder: reading(folder, lambda _: None)),
    Case(
        "pickle that runs a command",
        "array",
        REFUSED,
        array(lambda folder: header("()", pickle.dumps(Runs(folder)), "|O")),
    ),
    Case(
        "pickle nested 1,000,000 deep",
        "array",
        REFUSED,
        array(lambda _: header("()", b"(" * 10**6 + b"t" * 10**6, "|O")),
    ),
    Case("header of 80 TB", "array", REFUSED, array(lambda _: header("(9999999999999,)", b"x" * 8))),
    Case("description nested 100,000 deep", "array", REFUSED, description),
    Case(
        "tag that runs a command",
        "YAML",
        REFUSED,
        rules(lambda f: f"a: !!python/object/apply:os.system ['touch {f.parent / WITNESS}']"),
    ),
    Case("aliases of 1,000,000,000 words", "YAML", REFUSED, rules(lambda _: laughs())),
    Case("brackets nested 1,000,000 deep", "YAML", REFUSED, rules(lambda _: "[" * 10**6)),
    Case("row nested 1,000,000 deep", "data set", REFUSED, rows('{"problem": ' + "[" * 10**6)),
    Case("row of 50 MB", "data set", DONE, rows(json.dumps({"problem": "p " * 25_000_000, "answer": "7"}))),
    Case("answer of 10 MB", "re_extract", DONE, read_again("so we have " * 900_000 + r"\boxed{7}")),
    Case("box of 10 MB", "re_extract", DONE, read_again(r"\boxed{" + "1" * 10**7 + "}")),
    Case("1,000,000 boxes", "re_extract", DONE, read_again(r"\boxed{1}" * 10**6)),
    Case("1,000,000 boxes that nest", "re_extract", DONE, read_again(r"\boxed{" * 10**6 + "}" * 10**6)),
    Case("1,000,000 braces", "re_extract", DONE, read_again("{" * 10**6)),
    Case("a box and 1,000,000 backslashes", "re_extract", DONE, read_again(r"\boxed{1}" + "\\" * 10**6)),
    Case("number ../../outside", "re_extract", REFUSED, read_again("7", problem_index="../../outside")),
    Case("sample that is a link", "re_extract", DONE, linked),
    Case("terminal codes and markup", "compute_accuracy", DONE, graded),
    Case("terminal codes and markup", "compare", DONE, beside),
    Case("algebra without end", "grading", DONE, compared([ENDLESS])),
    Case("400 hostile answers", "grading", DONE, compared(adversarial.pairs(400, seed=3))),
)


def measure(case: Case) -> dict[str, Any]:
    """Raises AssertionError for what must not happen."""
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place) / "folder", Path(place) / "log"
        folder.mkdir()
        settings, command = case.made(folder)
        outside = others(Path(place))
        _, status, used = os.wait4(forked(settings, command, log), 0)
        text = log.read_text()
        log.unlink()
        assert os.waitstatus_to_exitcode(status) == case.status, (case.name, status, text[-2000:])
        assert "traceback" not in text.lower(), (case.name, text[-2000:])
        assert not {c for c in text if not c.isprintable()} - {"\n"}, (case.name, text[:2000])
        assert case.status == DONE or text.count("\n") == 1, (case.name, text[:2000])
        assert others(Path(place)) == outside, (case.name, "something was written outside the folder")
        seconds = used.ru_utime + used.ru_stime
        print(case.name, f"{seconds:.2f} s", f"{used.ru_maxrss / 1e3:.0f} MB", file=sys.stderr, flush=True)
        return {
            "name": case.name,
            "reader": case.reader,
            "status": case.status,
            "seconds": seconds,
            "kB": used.ru_maxrss,
        }


def others(place: Path) -> dict[str, bytes]:
    """Files outside the folder, and what they hold."""
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file() and path.name != "log"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    readers = sorted({case.reader for case in CASES[1:]})
    parser.add_argument("--read_by", default=readers, nargs="+", choices=readers)
    args = parser.parse_args()
    empty, *found = [measure(case) for case in CASES if case is CASES[0] or case.reader in args.read_by]
    rows = []
    for one in found:
        memory = max(0, one["kB"] - empty["kB"]) / 1e3
        becomes = "done" if one["status"] == DONE else "one line"
        rows.append([one["name"], one["reader"], becomes, f"{one['seconds'] - empty['seconds']:.2f}", f"{memory:.0f}"])
    show(COLUMNS, rows, {"nothing": empty, "inputs": found})


if __name__ == "__main__":
    main()
