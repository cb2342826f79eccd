"""Several servers of a model on this machine, and a gateway before them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ATTS.errors import UserError
from ATTS.launch import gateway
from ATTS.launch.supervisor import Server, free_ports

STEP = 2  # between the ports of a model's servers: those of the other model lie between


def replicas(role: str, count: int, devices: str, port: int, device: str, **more: object) -> list[Server]:
    """``count`` servers (0: one for each group of ``devices``, which are separated by ";"), at every second port from
    ``port`` on. Raises UserError where they don't fit the devices."""
    groups = devices.split(";")
    count = count or len(groups)
    if device == "cpu":
        groups = [""] * count
    if len(groups) != count:
        raise UserError(
            f"{count} servers of {role} need as many groups of GPUs, separated by semicolons (such as"
            f" '{';'.join(map(str, range(count)))}'); {devices!r} has {len(groups)}"
        )
    names = [role, *(f"{role}_{number}" for number in range(2, count + 1))]
    return [
        Server(role=name, port=port + STEP * number, devices=own, device=device, **more)  # type: ignore[arg-type]
        for number, (name, own) in enumerate(zip(names, groups, strict=True))
    ]


def apart(servers: Sequence[Server]) -> None:
    """Raises UserError if two are to listen at one port."""
    taken: dict[int, str] = {}
    for server in servers:
        if server.port in taken:
            raise UserError(
                f"{server.role} and {taken[server.port]} would both listen at port {server.port}: a model's servers"
                " have every second port from its first one on; choose one first port that is even and one that is odd"
            )
        taken[server.port] = server.role


@dataclass(frozen=True)
class Gateway(Server):
    """smg before servers that run."""

    python: str = ""  # that has it
    behind: tuple[str, ...] = ()
    health: str = "/get_model_info"  # which a server behind it answers

    def command(self) -> list[str]:
        """See Server."""
        (other,) = free_ports(1)
        return gateway.command(self.python, self.host, self.port, other, self.behind)
