"""Where a model's servers are, as flags."""

from collections.abc import Sequence
from typing import Annotated

from tyro.conf import arg

from ATTS.flags import Incidental, Part, named, require, settle

HOST = "127.0.0.1"
Urls = str | Sequence[str] | None  # as older folders and code give them


def urls(given: Urls) -> tuple[str, ...]:
    """One address or several."""
    several = (given,) if isinstance(given, str) else tuple(given or ())
    return tuple(url.rstrip("/") for url in several)


class _Address(Part):
    """Where the servers of a model are."""

    port: Incidental[int]
    address: Incidental[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        settle(self, address=urls(self.address))
        super().__post_init__()
        flag = named(type(self), "address")
        for url in self.address:
            require(url.startswith(("http://", "https://")), f"{flag} {url!r} must start with http:// or https://")
            require(self.address.count(url) == 1, f"{flag} names {url} twice")
        _ = self.urls  # raises if there is none

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them. Raises ValueError naming the flag at fault."""
        if self.address:
            return self.address
        require(0 < self.port < 65536, f"{named(type(self), 'port')} {self.port} is not a port")
        return (f"http://{HOST}:{self.port}",)


class DraftAddress(_Address):
    """The model that writes first."""

    port: Annotated[Incidental[int], arg(name="small_model_port")] = 40000
    """Port of the draft server on this machine."""

    address: Annotated[Incidental[tuple[str, ...]], arg(name="small_model_url")] = ()
    """URLs of the draft server, or of several with the same model, or of a gateway before several; overrides its
    port."""


class TargetAddress(_Address):
    """The model that helps."""

    port: Annotated[Incidental[int], arg(name="eval_model_port")] = 40001
    """Port of the target server on this machine."""

    address: Annotated[Incidental[tuple[str, ...]], arg(name="eval_model_url")] = ()
    """URLs of the target server, or of several with the same model, or of a gateway before several; overrides its
    port."""


def apart(draft: DraftAddress, target: TargetAddress) -> None:
    """Raises ValueError if a draft and a target are at one address."""
    for url in draft.urls:
        require(url not in target.urls, f"draft and target are both at {url}")
