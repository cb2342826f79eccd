"""A file belongs to one process at a time, with the kernel's locks and without them."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from ATTS.store import atomic, lock
from ATTS.store.lock import Claim, own_only

HOLD = """
import os, sys, time
from pathlib import Path
from ATTS.store import lock
path = Path({path!r})
file = os.open(path, os.O_CREAT | os.O_RDWR)
try:
    claim = lock.hold(file, path)
except BlockingIOError as error:
    print("taken by", error.strerror, flush=True)
    sys.exit(1)
print("held", claim is not None, flush=True)
sys.stdin.readline()
if claim is not None:
    claim.release()
"""
WRITE = "from ATTS.store import atomic; from pathlib import Path; atomic.write(Path({path!r}), b'x')"
OTHER = b"other/1/pid:[1] 1 1 abc\n"


@contextmanager
def holding(path: Path, locks: bool) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that tries to hold ``path``, and what it says."""
    code = HOLD.format(path=str(path))
    command = ["-c", code] if locks else [str(ROOT / "tests/without_locks.py"), code]
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("locks", [True, False])
def test_one_process_holds_a_file_until_it_ends_however_it_ends(tmp_path: Path, locks: bool) -> None:
    path = tmp_path / ".lock"
    with holding(path, locks) as (first, said):
        assert said == f"held {not locks}"
        with holding(path, locks) as (_, refused):
            assert refused.startswith("taken by")
            assert locks or f"process {first.pid} on " in refused
        first.send_signal(signal.SIGKILL)
        first.wait()
        with holding(path, locks) as (second, said):
            assert said == f"held {not locks}"
            second.communicate("go\n")
            with holding(path, locks) as (_, said):
                assert said == f"held {not locks}"


def test_files_are_written_whole_without_locks_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    command = [sys.executable, ROOT / "tests/without_locks.py", WRITE.format(path=str(path))]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"x"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)


@pytest.mark.usefixtures("quick")
def test_a_claim_of_another_machine_stands_while_it_is_touched(tmp_path: Path) -> None:
    path, other = tmp_path / ".lock", tmp_path / ".lock.claim-00000003"
    other.write_bytes(OTHER)
    before = other.stat().st_mtime_ns
    pid = os.fork()
    if not pid:
        for step in range(1000):
            os.utime(other, ns=(before, before + 1000 * step))
            time.sleep(0.02)
        os._exit(0)
    try:
        with pytest.raises(BlockingIOError, match="process 1 on other"):
            Claim(path)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    claim = Claim(path)  # nobody touches it any more
    assert [one.name for one in tmp_path.iterdir()] == [".lock.claim-00000004"]
    claim.release()
    assert (tmp_path / ".lock.claim-00000004").read_bytes() == lock.FREE


@pytest.mark.usefixtures("quick")
def test_who_stood_still_for_too_long_learns_that_another_took_over(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    claim = Claim(path)
    (tmp_path / ".lock.claim-00000002").write_bytes(OTHER)
    while not claim.lost:
        time.sleep(0.01)
    claim.release()
    assert (tmp_path / ".lock.claim-00000002").read_bytes() == OTHER


def test_of_many_that_come_at_once_one_has_the_claim(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    pids, read, write = [], *os.pipe()
    for _ in range(8):
        pid = os.fork()
        if not pid:
            try:
                Claim(path)
                os.write(write, b"1")
                time.sleep(60)
            except BlockingIOError:
                os.write(write, b"0")
            os._exit(0)
        pids.append(pid)
    said = b""
    while len(said) < 8:
        said += os.read(read, 8)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert said.count(b"1") == 1
    Claim(path).release()


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=20)
def test_locks_that_stay_on_the_machine_are_told_by_the_mount(major: int, minor: int) -> None:
    def mounts(kind: str, options: str) -> str:
        return f"36 35 {major}:{minor} / /data rw,noatime shared:1 - {kind} server:/x {options}\n"

    device = os.makedev(major, minor)
    for kind, options in (("nfs", "rw,nolock"), ("nfs4", "rw,local_lock=all"), ("lustre", "rw,localflock")):
        assert own_only(device, mounts(kind, options))
        assert not own_only(os.makedev(major + 1, minor), mounts(kind, options))
    for kind, options in (("nfs4", "rw,local_lock=none"), ("ext4", "rw"), ("lustre", "rw,flock"), ("nfs", "rw")):
        assert not own_only(device, mounts(kind, options))


def test_what_a_write_left_is_swept_but_not_what_is_being_written(tmp_path: Path) -> None:
    (tmp_path / ".a.x.tmp").write_bytes(b"left")
    with (tmp_path / ".b.x.tmp").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        atomic.sweep(tmp_path)
        assert [one.name for one in tmp_path.iterdir()] == [".b.x.tmp"]


def test_of_two_that_create_a_file_one_does(tmp_path: Path) -> None:
    assert atomic.create(tmp_path / "f", b"1")
    assert not atomic.create(tmp_path / "f", b"2")
    assert (tmp_path / "f").read_bytes() == b"1"
    assert len(list(tmp_path.iterdir())) == 1
