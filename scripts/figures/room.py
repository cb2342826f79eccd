"""No room, no permission, no folder: at every kind of write of a run; no room for every other command.

    unshare -rm python scripts/figures/room.py

(In a name space of its own, so that file systems can be mounted for it.) A run of 64 samples writes to a file system
with little room, a little more each time; under a limit on the size of files; to one that becomes read-only; and to a
folder that is removed. Each must end with one line that names the file, keep what was finished, and go on when there is
room again. Then the other commands, each with room for a part only (--share) of what it writes in all.
"""

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulated import data_set, forked, pair, told, waited
from interrupted import WHAT, samples_of
from show import show

KILOBYTES = (40, 150)
QUESTIONS = 8
PAGE = os.sysconf("SC_PAGE_SIZE")  # a file system in memory gives room by pages


def system(*words: str) -> bool:
    """Whether a command of the system succeeded."""
    return subprocess.run(words, capture_output=True).returncode == 0  # noqa: S603


def mounted(place: Path, options: str) -> None:
    assert system("mount", "-o", options, "-t", "tmpfs", "room", str(place)), "run it under unshare -rm"


@contextmanager
def unmounted(folder: Path) -> Iterator[Path]:
    """The folder; what was mounted in it is not there any more at the end."""
    try:
        yield folder
    finally:
        for own in folder.iterdir():
            while os.path.ismount(own) and system("umount", "-l", str(own)):
                pass


def said(log: Path) -> str:
    """The last line of a command that failed. Raises AssertionError where it is no line for people."""
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "TRACEBACK" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    return lines[0]


def limited(settings: Any, command: Any, log: Path, size: int) -> int:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        return forked(settings, command, log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def used(place: Path) -> int:
    """Bytes of a file system that was mounted here."""
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def without_room(name: str, share: float) -> list[object]:
    """One command with room for a ``share`` of what it writes, then with enough."""
    work = WHAT[name]
    with (
        tempfile.TemporaryDirectory() as place,
        unmounted(Path(place)) as folder,
        pair(writer=work.writer) as (urls, _),
    ):
        flags = {**urls, "dataset_name": data_set(folder, QUESTIONS)}
        os.environ.update(OPENAI_API_KEY="none", OPENAI_BASE_URL=f"{urls['eval_model_url']}/v1", OPENAI_MODEL="t")

        def tried(own: Path, room: int | None) -> tuple[int, int]:
            """Exit status and bytes written, with this ``room`` for them (None: enough)."""
            own.mkdir()
            mounted(own, "size=100m")
            work.prepared(own, QUESTIONS)
            before = used(own)
            if room is not None:
                assert system("mount", "-o", f"remount,size={before + room or PAGE}", str(own))  # 0: without a limit
            return waited(forked(work.settings(flags, own), work.command, own.with_suffix(".log"))), used(own) - before

        whole, own = folder / "whole", folder / "small"
        status, written = tried(whole, None)
        assert status == 0, whole.with_suffix(".log").read_text()
        log = own.with_suffix(".log")
        status, _ = tried(own, int(share * written) // PAGE * PAGE)
        assert status == 2, (name, share, written, status, log.read_text())
        line, kept = said(log), work.finished(own)
        assert system("mount", "-o", "remount,size=100m", str(own))
        assert waited(forked(work.settings(flags, own), work.command, log)) == 0, log.read_text()
        assert kept.items() <= work.finished(own).items(), name
        assert work.outcome(own) == work.outcome(whole), name
        names = work.names(own)
        assert len(set(names)) == len(names), name
        return [f"{name}, room for {100 * share:.0f} %", len(kept), line.replace(str(own), "...")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=list(WHAT), nargs="+", choices=tuple(WHAT))
    parser.add_argument("--share", default=[0.1, 0.6], nargs="+", type=float)
    args = parser.parse_args()
    rows = runs() if "run" in args.what else []
    for name in args.what:
        rows += [without_room(name, share) for share in args.share if name != "run"]
    show(["what", "finished samples or other parts kept", "what is said"], rows, {"cases": rows})


def runs() -> list[list[object]]:
    """Every way of a run."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as place, unmounted(Path(place)) as folder, pair() as (urls, count):
        flags = {**urls, "dataset_name": data_set(folder, 4)}
        (folder / "whole").mkdir()
        make, command = WHAT["run"].settings, WHAT["run"].command
        assert waited(forked(make(flags, folder / "whole"), command, folder / "whole/log")) == 0
        right = told(folder / "whole/run")

        def case(name: str, number: int, own: Path, again: bool = True) -> None:
            log = own.with_suffix(".log")
            status = waited(number)
            assert status == 2, (name, status, log.read_text())
            line, kept = said(log), samples_of(own)
            assert again or not kept
            rows.append([name, len(kept), line.replace(str(own), "...")])
            if name.startswith("room"):
                system("mount", "-o", "remount,size=100m", str(own))
            if name == "read-only":
                system("umount", "-l", str(own))
            assert waited(forked(make(flags, own), command, log)) == 0, log.read_text()
            now = samples_of(own)
            assert kept.items() <= now.items(), name
            assert told(own / "run") == right, name

        for kilobytes in KILOBYTES:
            own = folder / f"room{kilobytes}"
            own.mkdir()
            mounted(own, f"size={kilobytes}k")
            case(f"room for {kilobytes} kB", forked(make(flags, own), command, own.with_suffix(".log")), own)
        for size in (2000, 3000):  # more than the command's own messages, which go to a file, too
            own = folder / f"limit{size}"
            own.mkdir()
            case(f"files up to {size} B", limited(make(flags, own), command, own.with_suffix(".log"), size), own)
        for name in ("read-only", "removed"):
            own = folder / name
            own.mkdir()
            mounted(own, "size=100m")
            number, at = forked(make(flags, own), command, own.with_suffix(".log")), count.value + 250
            while count.value < at:
                time.sleep(0.001)
            if name == "removed":
                shutil.rmtree(own / "run", ignore_errors=True)
            else:
                # The run keeps files open, so the folder itself can't become read-only: one that is lies over it.
                assert system("mount", "--bind", str(own), str(own))
                assert system("mount", "-o", "remount,bind,ro", str(own))
            case(name, number, own, again=name != "removed")
    return rows


if __name__ == "__main__":
    main()
