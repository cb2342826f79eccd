"""A file belongs to one process at a time, also on disks that other machines write to.

By ``flock`` where the file system has it. NFS without a lock service and Lustre without ``-o flock`` refuse it, and
some mounts keep it to the machine (``nolock``, ``local_lock``, ``localflock``), so that two machines would have it.
There a *claim* stands in for it: a numbered file beside the one to be locked, made by a hard link, which is there whole
and for one process only. It names machine and process, and its owner touches it every BEAT_SECONDS. The
highest number counts and is never removed, only marked as free, so that nobody takes an outdated one for the last. Who
finds the claim of a process that is gone takes the next number: at once where the process was of this machine, else
when the file has not been touched for STALE_SECONDS, told by watching it, so the machines' clocks don't matter.
"""

import contextlib
import errno
import fcntl
import functools
import os
import socket
import threading
import uuid
from pathlib import Path

from ATTS.console import STOPPING, say

NONE_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what flock says where the file system has no locks
OWN_ONLY = {  # mount options under which a lock is this machine's
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"local_lock=all", "local_lock=flock"},
    "lustre": {"localflock"},
}
BEAT_SECONDS, STALE_SECONDS = 5.0, 60.0
FREE = b"free\n"


def hold(file: int, path: Path) -> "Claim | None":
    """Locks the open ``file`` at ``path`` for this process, until it is closed or, where the file system has no locks,
    until the claim that is returned is released. Raises BlockingIOError where another process has it, OSError."""
    if flock(file):
        return None
    return Claim(path)


def flock(file: int, wait: bool = False) -> bool:
    """Locks an open file; False where the file system has no locks that other machines see. Where another process has
    it, this waits or raises BlockingIOError. Raises OSError."""
    if _own_only(os.fstat(file).st_dev):
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NONE_HERE:
            return False
        raise
    return True


@functools.lru_cache(maxsize=64)
def _own_only(device: int) -> bool:
    try:
        return own_only(device, Path("/proc/self/mountinfo").read_text())
    except OSError:
        return False


def own_only(device: int, mounts: str) -> bool:
    """Whether locks on a device, by its number, are this machine's; ``mounts``: the system's mountinfo."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for words in map(str.split, mounts.splitlines()):
        kind, options = words[words.index("-") + 1], words[-1].split(",")
        if words[2] == number and OWN_ONLY.get(kind, set()) & set(options):
            return True
    return False


class Claim:
    """This process's claim to a file. ``lost``: another process took it, since this one stood still for too long."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError, naming the process that has it, or OSError."""
        self._path, self.lost = path, False
        number, before = _newest(path)
        if before is not None:
            _wait_for(before)
        self._file = _file(path, number + 1)
        made = _link(_me(), self._file)
        if not made or _newest(path)[0] > number + 1:
            if made:
                self._file.unlink(missing_ok=True)
            raise BlockingIOError(errno.EWOULDBLOCK, "another process was quicker")
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        for older in _numbered(path)[:-1]:
            older.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self.lost and not self._ended.wait(BEAT_SECONDS):
            try:
                os.utime(self._file)
                self.lost = _newest(self._path)[1] != self._file
            except FileNotFoundError:
                self.lost = self._path.parent.exists()
            except OSError:  # the network may come back
                continue

    def release(self) -> None:
        """Lets others have the file."""
        self._ended.set()
        self._beating.join()
        if not self.lost:
            with contextlib.suppress(OSError):
                _replace(FREE, self._file)


def _me() -> bytes:
    """Machine, boot and namespace of processes in one word, process, when it began, and a word nobody else has."""
    return f"{_machine()} {os.getpid()} {_began(os.getpid())} {uuid.uuid4().hex}\n".encode()


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"


def _began(pid: int) -> str:
    """When a process began, in clock ticks; "" if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _wait_for(claim: Path) -> None:
    """Returns when the claim is free or its process gone. Raises BlockingIOError where it is alive."""
    try:
        content = claim.read_bytes()
    except FileNotFoundError:  # somebody has just taken the next one
        return
    if content == FREE:
        return
    machine, pid, began, _ = content.decode().split()
    owner = f"process {pid} on {machine.partition('/')[0]}"
    if machine == _machine():
        if _began(int(pid)) == began:
            raise BlockingIOError(errno.EWOULDBLOCK, owner)
        return
    say(f"{claim.parent} is claimed by {owner}: waiting {STALE_SECONDS:.0f} s for a sign of life")
    stopping, touched = STOPPING.get() or threading.Event(), _touched(claim)
    for _ in range(int(STALE_SECONDS / BEAT_SECONDS)):
        if stopping.wait(BEAT_SECONDS):
            raise KeyboardInterrupt
        if _touched(claim) != touched:
            raise BlockingIOError(errno.EWOULDBLOCK, owner)


def _touched(claim: Path) -> int:
    """Opened, so that NFS asks the server."""
    try:
        with claim.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


def _file(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.claim-{number:08d}")


def _numbered(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.claim-????????"))


def _newest(path: Path) -> tuple[int, Path | None]:
    """The highest number, and its file; 0 and none before there is any."""
    last = _numbered(path)[-1:]
    return (int(last[0].name[-8:]), last[0]) if last else (0, None)


def _link(content: bytes, file: Path) -> bool:
    """Makes ``file`` unless it is there. Counts links, since NFS may report an error for one that it made."""
    new = file.with_name(f".{uuid.uuid4().hex}.claim")
    new.write_bytes(content)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(new, file)
        return new.stat().st_nlink == 2
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (the file system has neither locks nor hard links)") from None
    finally:
        new.unlink()


def _replace(content: bytes, file: Path) -> None:
    new = file.with_name(f".{uuid.uuid4().hex}.claim")
    new.write_bytes(content)
    os.replace(new, file)
