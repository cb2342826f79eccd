"""A gateway (smg) before running servers, by the Python that has it: GATEWAY_PYTHON, or this one."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ATTS.launch.gateway import command
from ATTS.launch.supervisor import free_ports

PYTHON = os.environ.get("GATEWAY_PYTHON", sys.executable)


class Gateway:
    """Before the servers at ``urls``; killed at the end of the block."""

    def __init__(self, urls: Sequence[str], log: Path) -> None:
        port, metrics = free_ports(2)
        self.url, self._log, self._count = f"http://127.0.0.1:{port}", log, len(urls)
        self._command = command(PYTHON, "127.0.0.1", port, metrics, urls)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Comes back at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: S603 - its own words

    def wait(self) -> None:
        """Until it knows all of the servers as healthy. Raises SystemExit if it ends."""
        while sum(one["is_healthy"] for one in page(f"{self.url}/workers").get("workers", [])) < self._count:
            if self._process is None or self._process.poll() is not None:
                raise SystemExit(f"the gateway has ended:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends it (SIGKILL), if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Gateway":
        self.start()
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def page(url: str) -> Any:
    """The JSON at an address of this machine; empty where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310 - of this machine
            return json.loads(reply.read())
    except OSError:
        return {}
