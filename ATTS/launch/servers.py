"""Flags of the command that starts and stops servers."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ATTS.console import heed_interrupts, printable
from ATTS.errors import UserError
from ATTS.launch.supervisor import Server, free_ports, start, stop


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
            start(servers(args), args.folder, args.timeout)
    except UserError as problem:
        sys.exit(f"error: {printable(problem)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; no server is left running")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start both servers and wait until they are healthy")
    starting.add_argument("--timeout", type=float, default=600)
    starting.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    starting.add_argument("--host", default="127.0.0.1")
    starting.add_argument("--nodes", type=int, default=1, help="machines that the target is spread over")
    starting.add_argument("--node", type=int, default=0, help="this one's number; those above 0 serve the target only")
    starting.add_argument("--meeting", default="", help="HOST:PORT of machine 0, where they find each other")
    for role in ("small_model", "eval_model"):
        starting.add_argument(f"--{role}", required=True)
        starting.add_argument(f"--{role}_port", type=int, required=True)
        starting.add_argument(f"--{role}_devices", default="")
        starting.add_argument(f"--{role}_memory_fraction", type=lambda text: float(text) if text else None)
        starting.add_argument(f"--{role}_args", type=shlex.split, default=[])
    for command in (starting, commands.add_parser("stop", help="stop the servers of a folder")):
        command.add_argument("--folder", type=Path, required=True, help="where logs and PID files are")
    commands.add_parser("ports", help="print two ports that are free now")
    return made


def servers(args: argparse.Namespace) -> list[Server]:
    """Those to be started on this machine. Raises UserError."""
    if args.nodes > 1 and not (0 <= args.node < args.nodes and ":" in args.meeting):
        raise UserError(
            f"a target over {args.nodes} machines needs NODE_RANK from 0 to {args.nodes - 1} (not {args.node}) and"
            " DIST_INIT_ADDR, HOST:PORT of the first machine, the same on all"
        )
    given = vars(args)
    both = [
        Server(
            role=role,
            model=given[role],
            port=given[f"{role}_port"],
            host=args.host,
            device=args.device,
            devices=given[f"{role}_devices"],
            memory_fraction=given[f"{role}_memory_fraction"],
            extra=given[f"{role}_args"],
        )
        for role in ("small_model", "eval_model")
    ]
    if args.nodes > 1:
        both[1] = replace(both[1], nodes=args.nodes, node=args.node, meeting=args.meeting)
    return both if args.node == 0 else both[1:]
