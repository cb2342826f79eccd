"""Where a model's servers are, as flags."""

from typing import Annotated

from tyro.conf import arg

from ATTS.flags import Incidental, Part, named, require, settle

HOST = "127.0.0.1"
Urls = str | tuple[str, ...]


class _Address(Part):
    """Where the servers of a model are."""

    port: Incidental[int]
    address: Incidental[Urls | None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.address, str):  # one is kept as a text, as by versions that knew no more
            given = tuple(self.address or ())
            settle(self, address=given[0] if len(given) == 1 else given or None)
        super().__post_init__()
        flag = named(type(self), "address")
        for url in self.urls:  # which raises for a wrong port
            require(url.startswith(("http://", "https://")), f"{flag} {url!r} must start with http:// or https://")
            require(self.urls.count(url) == 1, f"{flag} names {url} twice")

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them. Raises ValueError naming the flag at fault."""
        if self.address is not None:
            return several(self.address)
        require(0 < self.port < 65536, f"{named(type(self), 'port')} {self.port} is not a port")
        return (f"http://{HOST}:{self.port}",)

    @property
    def url(self) -> str:
        """The first."""
        return self.urls[0]


def several(given: Urls) -> tuple[str, ...]:
    """One address or more, without slashes at their ends."""
    return tuple(url.rstrip("/") for url in ((given,) if isinstance(given, str) else given))


class DraftAddress(_Address):
    """The model that writes first."""

    port: Annotated[Incidental[int], arg(name="small_model_port")] = 40000
    """Port of the draft server on this machine."""

    address: Annotated[Incidental[Urls | None], arg(name="small_model_url")] = None
    """URLs of the draft server, or of several with the same model, or of a gateway before several; overrides its
    port."""


class TargetAddress(_Address):
    """The model that helps."""

    port: Annotated[Incidental[int], arg(name="eval_model_port")] = 40001
    """Port of the target server on this machine."""

    address: Annotated[Incidental[Urls | None], arg(name="eval_model_url")] = None
    """URLs of the target server, or of several with the same model, or of a gateway before several; overrides its
    port."""


def apart(draft: DraftAddress, target: TargetAddress) -> None:
    """Raises ValueError if a draft and a target are at one address."""
    for url in draft.urls:
        require(url not in target.urls, f"draft and target are both at {url}")
