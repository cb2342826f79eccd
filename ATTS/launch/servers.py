"""Flags of the command that starts and stops servers."""

import argparse
import shlex
import sys
from pathlib import Path

from ATTS.console import heed_interrupts, printable
from ATTS.errors import UserError
from ATTS.launch.replicas import Gateway, apart, replicas
from ATTS.launch.supervisor import Server, free_ports, start, stop

START_SECONDS = {"cpu": 600.0, "cuda": 3600.0}  # the first start on GPUs downloads 80 GB and compiles kernels


def main(description: str | None) -> None:
    """Runs one of ``start``, ``stop`` and ``ports``. Signals are the supervisor's: no event loop takes part."""
    heed_interrupts()
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start both servers and wait until they are healthy")
    starting.add_argument("--timeout", type=_number, help="seconds; else 600 on a CPU, 3600 on GPUs")
    starting.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    starting.add_argument("--host", default="127.0.0.1")
    for role in ("small_model", "eval_model"):
        starting.add_argument(f"--{role}", required=True)
        starting.add_argument(f"--{role}_port", type=int, required=True)
        starting.add_argument(f"--{role}_devices", default="")
        starting.add_argument(f"--{role}_replicas", type=_count, default=0, help="servers; 0: one a group of devices")
        starting.add_argument(
            f"--{role}_gateway_port", type=_count, default=0, help="of a gateway before them; 0: none"
        )
        starting.add_argument(f"--{role}_memory_fraction", type=_number)
        starting.add_argument(f"--{role}_args", type=shlex.split, default=[])
    starting.add_argument("--gateway_python", default=sys.executable, help="that has smg (third_party/gateway)")
    for command in (starting, commands.add_parser("stop", help="stop the servers of a folder")):
        command.add_argument("--folder", type=Path, required=True, help="where logs and PID files are")
    commands.add_parser("ports", help="print two ports that are free now")
    args = vars(parser.parse_args())
    try:
        if args["command"] == "ports":
            print(*free_ports(2))
            return
        if args["command"] == "stop":
            print(f"stopped: {', '.join(stop(args['folder'])) or 'none was running'}", file=sys.stderr)
            return
        of_role = {
            role: replicas(
                *(role, args[f"{role}_replicas"], args[f"{role}_devices"], args[f"{role}_port"], args["device"]),
                model=args[role],
                host=args["host"],
                memory_fraction=args[f"{role}_memory_fraction"],
                extra=args[f"{role}_args"],
            )
            for role in ("small_model", "eval_model")
        }
        gateways: list[Server] = [
            Gateway(
                role=f"{role}_gateway",
                model=args[role],
                port=args[f"{role}_gateway_port"],
                host=args["host"],
                device="none",
                python=args["gateway_python"],
                behind=tuple(server.url for server in servers),
            )
            for role, servers in of_role.items()
            if args[f"{role}_gateway_port"]
        ]
        servers = [server for several in of_role.values() for server in several]
        apart([*servers, *gateways])
        seconds = args["timeout"] or START_SECONDS[args["device"]]
        start(servers, args["folder"], seconds)
        if gateways:
            start(gateways, args["folder"], seconds)
    except UserError as problem:
        sys.exit(f"error: {printable(problem)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; no server is left running")


def _number(text: str) -> float | None:
    """A number, or none for the empty text of a variable that is not set."""
    return float(text) if text else None


def _count(text: str) -> int:
    """0 for the empty text of a variable that is not set."""
    return int(text or 0)
