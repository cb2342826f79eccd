"""What is looked at before a server is started: its model's folder, its port, the devices that it shares."""

import errno
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

from ATTS import demo
from ATTS.errors import UserError

FIRST_PORT = 30_000  # SGLang's own default; below the range from which Linux gives ports to any program
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def check_model(role: str, model: str) -> None:
    """Raises UserError for a folder that doesn't exist."""
    path = Path(demo.resolve(model))
    if (path.is_absolute() or model.startswith(".")) and not path.exists():
        raise UserError(f"the model of the {role} server, {model}, does not exist")


def check_port(role: str, host: str, port: int) -> None:
    """Raises UserError for a port that can't be listened on, with one that can."""
    try:
        _bind(host, port)
    except OSError as error:
        advice = "choose another SGLANG_HOST"
        if error.errno == errno.EADDRINUSE:
            small, large = itertools.islice(_free(host), 2)
            advice = f"free it or choose another, for example SMALL_MODEL_PORT={small} EVAL_MODEL_PORT={large}"
            low, high = (int(number) for number in EPHEMERAL.read_text().split())
            if low <= port <= high:
                advice += f" (Linux gives those from {low} to {high} to any program that asks for one)"
        raise UserError(f"the {role} server can't listen on {host}:{port}: {error.strerror}; {advice}") from None


def _free(host: str) -> Iterator[int]:
    for port in range(FIRST_PORT, 2**16):
        try:
            _bind(host, port)
        except OSError:
            continue
        yield port


def _bind(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def share_a_device(devices: list[str]) -> bool:
    """Whether two of these CUDA_VISIBLE_DEVICES have one in common; an empty one is all of them."""
    named = [set(filter(None, one.split(","))) for one in devices]
    return any(not a or not b or a & b for n, a in enumerate(named) for b in named[:n])
