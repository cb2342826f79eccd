"""What a server's log, and the programs that it runs, tell of its start."""

import re
from pathlib import Path

LINES = 25
START = "starting Python"
COMPILING = "compiling kernels, the first time only"
# The lines of SGLang 0.5.23 that begin a part of its start, and what that part is; the last of them counts.
PARTS = (
    (re.compile(r"server_args="), "reading the model's small files"),
    (re.compile(r"Load weight begin|skipping download|loading (?:\w+ )*shards", re.I), "loading the weights"),
    (re.compile(r"Using model weights format|will (?:attempt )?download"), "downloading the weights"),
    (re.compile(r"Load weight end|KV Cache is allocated"), "setting up its memory"),
    (re.compile(r"Building JIT module"), COMPILING),
    (re.compile(r"Capture .* begin"), "capturing CUDA graphs"),
    (re.compile(r"FlashInfer autotune with|FlashInfer autotune \("), "tuning kernels, the first time only"),
    (re.compile(r"Started server process"), "its first request"),
)
PROGRESS = re.compile(r"(?:Capturing|shards)[^%]*?(\d+)%")  # a bar of a part
COMPILERS = {"nvcc", "cicc", "ptxas", "cudafe++", "ninja", "cc1plus"}


def waiting_for(log: Path, group: int) -> str:
    """What a server is busy with that starts as a process group and writes ``log``."""
    if _programs(group) & COMPILERS:  # SGLang's own compiling says nothing in the log
        return COMPILING
    found, bar = START, ""
    for line in re.split(r"[\r\n]+", log.read_text(errors="replace")):
        named = [name for pattern, name in PARTS if pattern.search(line)]
        if named and named[-1] != found:
            found, bar = named[-1], ""
        if progress := PROGRESS.search(line):
            bar = f", {progress[1]} %"
    return found + bar


def _programs(group: int) -> set[str]:
    """The names of the programs that a process group runs."""
    names = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended
            continue
        if rest.split()[2] == str(group):
            names.add(name)
    return names


def tail(log: Path) -> str:
    """The end of a log, to be shown."""
    lines = log.read_text(errors="replace").splitlines()[-LINES:]
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])
