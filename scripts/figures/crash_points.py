"""The process ends at the k-th call to the system, for every k, of each kind of write.

    python scripts/figures/crash_points.py

After each the files are read by a new process as the next run would: what was finished before must be whole, what was
being written must be whole or not there, and the same write must then succeed and leave nothing beside.
"""

import asyncio
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from show import show

from ATTS.errors import ExitStatus
from ATTS.method.chain import Chain
from ATTS.store import calibration
from ATTS.store.journal import Journal, beside
from ATTS.store.records import Digests, Key, record
from ATTS.store.result_folder import ResultStore
from ATTS.store.under_way import UnderWay
from ATTS.tasks.answers import find_answer
from ATTS.tasks.datasets import Question

CALLS = ((os, "open"), (os, "write"), (os, "fsync"), (os, "replace"), (os, "chmod"), (os, "unlink"), (os, "fdopen"))
CALLS += ((os, "ftruncate"), (os, "close"), (os, "rmdir"), (fcntl, "flock"), (tempfile, "mkstemp"))  # type: ignore[assignment]
KEYS = [Key(Question(number, f"question {number}", "1"), 0, 1) for number in range(2)]
DIGESTS: Digests = {"settings_digest": "d", "calibration_digest": None}
ABOUT = {"decisive": {"turns": 1}, "digest": "d"}
END = 77


def sample(folder: Path) -> None:
    """A run's second sample."""
    with ResultStore(folder, ABOUT, force=False) as store:
        for key in store.owed(KEYS):
            made = record(key, Chain(find_answer), ExitStatus.ANSWERED, None, 1.0, DIGESTS)
            asyncio.run(store.save(made))


def sample_is_well(folder: Path) -> bool:
    with ResultStore(folder, ABOUT, force=False) as store:
        return KEYS[0].index in store.finished(KEYS)


def array(folder: Path) -> None:
    """An array and its description, behind the journal of its scores."""
    path = folder / "a.npy"
    if path.exists():  # as ATTS.calibration.calibrate does
        beside(path).unlink(missing_ok=True)
        return
    with Journal(path, "digest") as partial:
        for number in range(len(partial.entries), 3):
            asyncio.run(partial.add({"score": 1.5 + number}))
        calibration.save(path, np.array([entry["score"] for entry in partial.entries]), {"digest_of": "x"})
        partial.remove()


def array_is_well(folder: Path) -> bool:
    path = folder / "a.npy"
    return not path.exists() or len(calibration.load(path, None).scores) == 3


def chain(folder: Path) -> None:
    """Replies of a chain that is under way."""

    async def main() -> None:
        under_way = UnderWay()
        under_way.open(folder, DIGESTS, KEYS[:1])
        journal = under_way.chain(KEYS[0])
        for number in range(len(under_way.decided()), 3):
            journal.write({"decision": {"turn": number}})

    asyncio.run(main())


def chain_is_well(folder: Path) -> bool:
    under_way = UnderWay()
    under_way.open(folder, DIGESTS, KEYS[:1])
    turns = [entry["turn"] for _, entry in under_way.decided()]
    return turns == list(range(len(turns)))


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], bool]]] = {
    "sample": (sample, sample_is_well),
    "array": (array, array_is_well),
    "chain under way": (chain, chain_is_well),
}


def before(kind: str, folder: Path) -> None:
    """What an earlier run has finished."""
    if kind == "sample":
        sample(folder)
        (folder / "problem_0001.json").unlink()


def ending_at(k: int) -> None:
    """This process ends before the ``k``-th of the calls from now on."""
    left = [k]

    def ending(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(END)
            return call(*args, **more)

        return called

    for module, name in CALLS:
        setattr(module, name, ending(getattr(module, name)))


def in_child(work: Callable[[], None]) -> int:
    number = os.fork()
    if number:
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    try:
        work()
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def measure(kind: str) -> dict[str, Any]:
    """Raises AssertionError, with the point."""
    write, is_well = KINDS[kind]
    for k in range(1, 1000):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            before(kind, folder)

            def crash(k: int = k, folder: Path = folder) -> None:
                ending_at(k)
                write(folder)

            status = in_child(crash)
            assert status in (0, END), (kind, k, status)
            assert is_well(folder), (kind, k)
            assert in_child(lambda folder=folder: write(folder)) == 0, (kind, k)  # type: ignore[misc]
            assert is_well(folder), (kind, k)
            left = [path.name for path in folder.rglob("*") if ".tmp" in path.name or "partial" in path.name]
            assert not left, (kind, k, left)
        if status == 0:
            return {"points": k - 1}
    raise AssertionError(f"{kind} never ends")


def main() -> None:
    figures = {kind: measure(kind) for kind in KINDS}
    rows = [[kind, told["points"], 0, 0] for kind, told in figures.items()]
    show(["write", "crash points", "lost or torn", "not resumed"], rows, figures)


if __name__ == "__main__":
    main()
