"""Flags of the command that starts and stops servers."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ATTS.console import heed_interrupts, printable
from ATTS.errors import UserError
from ATTS.launch.replicas import Gateway, apart, replicas
from ATTS.launch.supervisor import Server, free_ports, start, stop

ROLES = ("small_model", "eval_model")
START_SECONDS = {"cpu": 600.0, "cuda": 3600.0}  # the first start on GPUs downloads 80 GB and compiles kernels


def main(description: str | None) -> None:
    """Runs one of ``start``, ``stop`` and ``ports``. Signals are the supervisor's: no event loop takes part."""
    heed_interrupts()
    args = parser(description).parse_args()
    try:
        if args.command == "ports":
            print(*free_ports(2))
        elif args.command == "stop":
            print(f"stopped: {', '.join(stop(args.folder)) or 'none was running'}", file=sys.stderr)
        else:
            first, behind = servers(args), gateways(args)
            apart([*first, *behind])
            seconds = args.timeout or START_SECONDS[args.device]
            start(first, args.folder, seconds)
            if behind:
                _start_before(behind, args.folder, seconds)
    except UserError as problem:
        sys.exit(f"error: {printable(problem)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; no server is left running")


def _start_before(gateways: Sequence[Server], folder: Path, seconds: float) -> None:
    """The gateways of servers that run. Raises UserError, with no server left running either."""
    try:
        start(gateways, folder, seconds)
    except BaseException:
        stop(folder)
        raise


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start both servers and wait until they are healthy")
    starting.add_argument("--timeout", type=_number, help="seconds; else 600 on a CPU, 3600 on GPUs")
    starting.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    starting.add_argument("--host", default="127.0.0.1")
    starting.add_argument("--nodes", type=int, default=1, help="machines that the target is spread over")
    starting.add_argument("--node", type=int, default=0, help="this one's number; those above 0 serve the target only")
    starting.add_argument("--meeting", default="", help="HOST:PORT of machine 0, where they find each other")
    for role in ROLES:
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
    return made


def _number(text: str) -> float | None:
    """A number, or none for the empty text of a variable that is not set."""
    return float(text) if text else None


def _count(text: str) -> int:
    """0 for the empty text of a variable that is not set."""
    return int(text or 0)


def servers(args: argparse.Namespace) -> list[Server]:
    """Those to be started on this machine. Raises UserError."""
    if args.nodes > 1 and not (0 <= args.node < args.nodes and ":" in args.meeting):
        raise UserError(
            f"a target over {args.nodes} machines needs NODE_RANK from 0 to {args.nodes - 1} (not {args.node}) and"
            " DIST_INIT_ADDR, HOST:PORT of the first machine, the same on all"
        )
    draft, target = (_of_role(args, role) for role in ROLES)
    if args.nodes > 1:
        if len(target) > 1:
            raise UserError("a target over several machines is one server: leave out EVAL_MODEL_REPLICAS and ;")
        target = [replace(target[0], nodes=args.nodes, node=args.node, meeting=args.meeting)]
    return [*draft, *target] if args.node == 0 else target


def _of_role(args: argparse.Namespace, role: str) -> list[Server]:
    given = vars(args)
    return replicas(
        *(role, given[f"{role}_replicas"], given[f"{role}_devices"], given[f"{role}_port"], args.device),
        model=given[role],
        host=args.host,
        memory_fraction=given[f"{role}_memory_fraction"],
        extra=given[f"{role}_args"],
    )


def gateways(args: argparse.Namespace) -> list[Server]:
    """Those to be started before them."""
    given = vars(args)
    return [
        Gateway(
            role=f"{role}_gateway",
            model=given[role],
            port=given[f"{role}_gateway_port"],
            host=args.host,
            device="none",
            python=args.gateway_python,
            behind=tuple(server.url for server in _of_role(args, role)),
        )
        for role in ROLES
        if given[f"{role}_gateway_port"] and args.node == 0
    ]
