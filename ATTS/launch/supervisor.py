"""Starts and stops the two SGLang servers, for :mod:`ATTS.servers`.

``start`` returns when both are healthy and leaves them running; when one fails, or the time limit
passes, or it is interrupted, it stops both and shows the end of the log. Each server leads a
process group of its own, so stopping it leaves none of its children.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from ATTS import demo
from ATTS.errors import UserError
from ATTS.launch import before_start, memory, sglang_server, speculation
from ATTS.launch.server_log import tail, waiting_for
from ATTS.serving import keys

POLL_SECONDS = 1.0
LINE_SECONDS = 15.0
TERM_SECONDS = 8.0  # an idle server leaves within that; a busy one drains for over 30 s and is killed
KEY_FLAGS = ("--api-key", "--admin-api-key")
PID_FILES = ("small_model*.pid", "eval_model*.pid")  # of all servers of a model, and of its gateway


@dataclass(frozen=True)
class Server:
    """How to start one server."""

    role: str  # "small_model" (draft) or "eval_model" (target), with a number behind it; names the log and PID file
    model: str
    port: int
    host: str = "127.0.0.1"
    device: str = "cuda"  # or "cpu"
    devices: str = ""  # CUDA_VISIBLE_DEVICES
    memory_fraction: float | None = None  # None: fitted to the machine on a CPU, SGLang's choice on GPUs
    dtype: str = "float32"  # on a CPU
    folder: str = ""  # of the model, where it has been downloaded
    extra: Sequence[str] = ()
    nodes: int = 1  # machines that it is spread over, with as many devices each
    node: int = 0  # this one's number; the first one answers requests
    meeting: str = ""  # where the others find the first one: its host and a free port
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"  # the page that answers with 200 when it is ready

    @property
    def url(self) -> str:
        """Where this machine reaches it: a server that listens on every address is asked at the loopback one."""
        try:
            address = ip_address(self.host)
        except ValueError:  # a name
            return f"http://{self.host}:{self.port}"
        if address.is_unspecified:
            address = ip_address("127.0.0.1" if address.version == 4 else "::1")
        return f"http://{address if address.version == 4 else f'[{address}]'}:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach it."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    def command(self) -> list[str]:
        """The launch command; a model's tensor parallelism is the number of its devices, on all machines."""
        words = [sys.executable, "-m", *self._program()]
        words += ["--model-path", demo.resolve(self.folder or self.model), "--served-model-name", self.model]
        words += ["--host", self.host, "--port", str(self.port)]
        words += ["--watchdog-timeout", "600", "--enable-metrics"]
        if self.memory_fraction is not None:
            words += ["--mem-fraction-static", str(self.memory_fraction)]
        if self.nodes > 1:
            words += ["--nnodes", str(self.nodes), "--node-rank", str(self.node), "--dist-init-addr", self.meeting]
        if self.device == "cpu":
            words += ["--device", "cpu", "--dtype", self.dtype, "--attention-backend", "torch_native"]
            words += ["--sampling-backend", "pytorch", "--grammar-backend", "none", "--disable-overlap-schedule"]
            words += ["--sleep-on-idle"]  # without it an idle server burns a core
            words += ["--prefill-decode-interval", str(memory.DECODE_STEPS), "--tensor-parallel-size", str(self.nodes)]
        else:
            words += ["--tensor-parallel-size", str(self.nodes * len(self.devices.split(",")))]
        return [*words, *self.extra]

    def _program(self) -> list[str]:
        """SGLang's launch command; with a key for this server, the one that hides it."""
        return [sglang_server.__name__, self.key_variable] if self.key else ["sglang.launch_server"]

    @property
    def key_variable(self) -> str:
        """The environment variable that may hold its key."""
        return f"{_model(self.role).upper()}_API_KEY"

    @property
    def key(self) -> str | None:
        """The key that its clients must have. Raises UserError."""
        return keys.key(self.key_variable)

    def surroundings(self) -> dict[str, str]:
        """Environment of the server process: a proxy is for downloads only, and nobody else's key is there."""
        secret = {"OPENAI_API_KEY", *keys.VARIABLES.values()} - {self.key_variable}
        inherited = {name: value for name, value in os.environ.items() if name not in secret}
        direct = [inherited.get("no_proxy") or inherited.get("NO_PROXY"), "127.0.0.1,localhost,::1", self.host]
        inherited["NO_PROXY"] = inherited["no_proxy"] = ",".join(filter(None, direct))
        if self.device == "cpu":
            inherited |= {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", **memory.ENVIRONMENT}
            if Path(demo.resolve(self.model)).is_dir():
                inherited["HF_HUB_OFFLINE"] = "1"
        else:  # kernels are compiled when it starts: with ninja, and the toolkit that setup.sh laid out
            inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            if (toolkit := Path(sys.prefix) / "cuda").is_dir():
                inherited.setdefault("CUDA_HOME", str(toolkit))
            if self.devices:
                inherited["CUDA_VISIBLE_DEVICES"] = self.devices
        if self.key:  # its program is one of this package
            package = str(Path(sglang_server.__file__).parents[2])
            inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [package, inherited.get("PYTHONPATH")]))
        return {**inherited, **self.environment}


def start(servers: Sequence[Server], folder: Path, timeout: float) -> None:
    """Starts ``servers`` and waits until all are healthy. Raises UserError, with none left running."""
    folder.mkdir(parents=True, exist_ok=True)
    for server in servers:
        before_start.check_model(server.role, server.model)
        before_start.check_port(server.role, server.host, server.port)
        speculation.check(server.model, server.extra)
        if server.is_open and not server.key:
            print(
                f"warning: the {server.role} server listens on {server.host} without a key, for whoever reaches it:"
                f" set {server.key_variable}",
                file=sys.stderr,
                flush=True,
            )
        running = _alive(folder / f"{server.role}.pid")
        if running:
            raise UserError(
                f"{folder} already holds a running {server.role} server (process {running}); stop it with"
                " scripts/stop_sglang_servers.sh, or give this one another SERVER_DIR"
            )
    servers = fitted(servers)
    in_turn = servers[0].device == "cuda" and before_start.share_a_device([server.devices for server in servers])
    with _stopped_on_failure(folder):
        # On one GPU, each takes its part of the memory that it finds free: the second one of what the first has left.
        for together in [[server] for server in servers] if in_turn else [servers]:
            processes = {server.role: _spawn(server, folder) for server in together}
            _wait(together, processes, folder, timeout)


def fitted(servers: Sequence[Server]) -> list[Server]:
    """On a CPU: with the numbers that each model was saved in, and memory shares for those that were given none; hub
    models are downloaded. Flags that the user gives come after these and win. Raises UserError."""
    on_cpu = [server for server in servers if server.device == "cpu"]
    folders = {server.role: memory.download(server.model) for server in on_cpu}
    models = {role: memory.Model.read(folder) for role, folder in folders.items()}
    open_ended = [server.role for server in on_cpu if server.memory_fraction is None]
    shares: dict[str, list[str]] = {}
    if open_ended:
        shares = dict(zip(open_ended, memory.flags([models[role] for role in open_ended], memory.free()), strict=True))
    return [
        replace(
            server,
            dtype=models[server.role].dtype,
            folder=str(folders[server.role]),
            extra=[*shares.get(server.role, []), *server.extra],
        )
        if server.device == "cpu"
        else server
        for server in servers
    ]


def _model(role: str) -> str:
    """small_model of small_model_2."""
    return re.sub(r"_(\d+|gateway)$", "", role)


def stop(folder: Path) -> list[str]:
    """Stops every server whose PID file is in ``folder``. Returns their names."""
    stopped = []
    for path in (path for pattern in PID_FILES for path in sorted(folder.glob(pattern), reverse=True)):
        group = _alive(path)
        if group:
            _stop_group(group)
            stopped.append(path.stem)
        path.unlink(missing_ok=True)
    return stopped


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together, so they differ."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _spawn(server: Server, folder: Path) -> subprocess.Popen[bytes]:
    log, pid_file = folder / f"{server.role}.log", folder / f"{server.role}.pid"

    def register() -> None:
        """In the child, before it becomes the server: no kill of this process leaves one that no file tells of."""
        pid_file.write_text(f"{os.getpid()}\n{_started(os.getpid())}\n")

    print(f"starting {server.role}: {server.model} on {server.url}, log {log}", file=sys.stderr, flush=True)
    with log.open("wb") as output:
        output.write(f"{shlex.join(_shown(server.command()))}\n".encode())
        output.flush()
        return subprocess.Popen(
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=server.surroundings(),
            start_new_session=True,
            preexec_fn=register,
        )


def _shown(command: Sequence[str]) -> list[str]:
    """A command without the keys that someone gave as flags."""
    shown = [re.sub(r"^(--(?:admin-)?api-key=).*", rf"\1{keys.HIDDEN}", word, flags=re.S) for word in command]
    return [keys.HIDDEN if flag in KEY_FLAGS else word for flag, word in zip(["", *command], shown, strict=False)]


def _wait(
    servers: Sequence[Server], processes: Mapping[str, subprocess.Popen[bytes]], folder: Path, timeout: float
) -> None:
    started = spoken = time.monotonic()
    waiting = {server.role: server for server in servers}
    while waiting:
        time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - started
        for role, server in list(waiting.items()):
            code, log = processes[role].poll(), folder / f"{role}.log"
            if code is not None:
                raise UserError(f"the {role} server ended with status {code} before it was ready.\n{tail(log)}")
            if _healthy(server):
                print(f"{role} is ready after {seconds:.0f} s", file=sys.stderr, flush=True)
                del waiting[role]
            elif seconds > timeout:
                raise UserError(f"the {role} server was not ready within {timeout:.0f} s.\n{tail(log)}")
        if waiting and time.monotonic() - spoken > LINE_SECONDS:
            spoken = time.monotonic()
            busy = [f"{role} ({waiting_for(folder / f'{role}.log', processes[role].pid)})" for role in waiting]
            print(f"waiting for {', '.join(busy)}, {seconds:.0f} s", file=sys.stderr, flush=True)


def _healthy(server: Server) -> bool:
    """/health generates a token, so 200 means that the model works; it takes a second."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.addheaders = [("Authorization", f"Bearer {server.key}")] if server.key else []
    try:
        with opener.open(f"{server.url}{server.health}", timeout=20) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def _stopped_on_failure(folder: Path) -> Iterator[None]:
    """Whatever ends the block early, SIGTERM included, stops the servers first."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except BaseException:
        stop(folder)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _alive(pid_file: Path) -> int | None:
    """The process group of a PID file, if it is still the server that was started. Its number can have been given to
    another process since, which began at another time; where the server is gone, children of it may be left."""
    try:
        group, started = (int(word) for word in pid_file.read_text().split())
    except (OSError, ValueError):
        return None
    if group <= 1:  # to the kernel, 0 and -1 are whole groups of others
        return None
    now = _started(group)
    if now is None:
        return group if _group_exists(group, started) else None
    return group if now == started else None


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None if there is none."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _stat(path: Path) -> list[str]:
    """What a process's stat file says behind its name: state, parent, group, session ...; empty if it is gone."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _stop_group(group: int) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it."""
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, TERM_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(group, os.WNOHANG)
            if not _group_exists(group):
                return
            time.sleep(0.1)


def _group_exists(group: int, since: int = 0) -> bool:
    """Whether a process of the group, and of a session of that number, is alive and began at ``since`` or later; one
    that only waits to be collected is not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(path)
        if fields and fields[2] == fields[3] == str(group) and fields[0] not in "ZX" and int(fields[19]) >= since:
            return True
    return False
