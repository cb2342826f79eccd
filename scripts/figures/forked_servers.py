"""SGLang servers in forks of this process, which has imported all of SGLang: one that was killed is there again in
seconds instead of a minute. A fork runs SGLang's own program behind ATTS's own flags; the processes that it starts are
forks, too, where they are new interpreters else."""

import http.client
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ATTS.launch.supervisor import Server, free_ports

SGLANG = "sglang.launch_server"
LATE = ("entrypoints.http_server", "managers.scheduler", "managers.detokenizer_manager", "models.qwen2")
SIZES = ("--max-total-tokens", "16384")
WAIT_SECONDS = 300.0


class ForkedServer:
    """A server of the demo pair on the CPU, with its port and its log."""

    def __init__(self, role: str, model: str, log: Path, extra: Sequence[str] = SIZES) -> None:
        (port,) = free_ports(1)
        self.server = Server(role, model, port, device="cpu", memory_fraction=0.97, extra=extra)
        self.url, self._log = self.server.url, log
        self._group = 0

    def start(self) -> None:
        """Comes back at once."""
        program = self._program()
        sys.stdout.flush()
        self._group = os.fork()
        if not self._group:
            self._serve(program)

    def wait(self) -> None:
        """Until it can generate a token."""
        until = time.monotonic() + WAIT_SECONDS
        while not self._healthy():
            ended, _ = os.waitpid(self._group, os.WNOHANG)
            assert not ended, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """Ends it and what it has started (SIGKILL)."""
        if self._group:
            os.killpg(self._group, signal.SIGKILL)
            os.waitpid(self._group, 0)
        self._group = 0

    def _program(self) -> Any:
        os.environ.update(self.server.surroundings())
        program = import_module(SGLANG)
        for late in LATE:
            import_module(f"sglang.srt.{late}")
        vars(multiprocessing)["set_start_method"] = lambda *_, **__: None  # SGLang asks for new interpreters
        return program

    def _serve(self, program: Any) -> None:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        words = self.server.command()
        sys.argv = words[words.index(SGLANG) :]
        try:
            program.run_server(program.prepare_server_args(sys.argv[1:]))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request("GET", self.server.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
