"""A gateway before several servers of one model (smg). It passes requests on, each chain's to one server, and hides
what servers say of themselves, so that is asked of the servers that it names."""

from collections.abc import Mapping

import aiohttp

from ATTS.errors import UserError
from ATTS.serving.retry import Transient
from ATTS.serving.server_info import get_page


def is_starting(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a reply is a gateway's that has just started and knows none of its servers yet: a 404 as for a wrong
    model, although ``/generate`` names none."""
    return status == 404 and headers.get("x-smg-error-code") == "model_not_found"


async def workers(session: aiohttp.ClientSession, url: str, role: str) -> list[str]:
    """URLs of the servers behind a gateway that answer it; none if ``url`` is a server itself. Raises UserError for a
    gateway without any."""
    try:
        page = await get_page(session, url, "/workers", role)
        named = [(str(one["url"]), bool(one.get("is_healthy", True))) for one in page["workers"]]
    except (aiohttp.ClientError, TimeoutError, Transient, ValueError, KeyError, TypeError, AttributeError):
        return []
    healthy = [worker.rstrip("/") for worker, well in named if well]
    if not healthy:
        raise UserError(
            f"the gateway at {url} has no {role} server that answers: wait until they are up, or see to its"
            " --worker-urls"
        )
    return healthy
