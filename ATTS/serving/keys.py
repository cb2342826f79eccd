"""Keys of servers that were started with ``--api-key``: from the environment only, never written or logged."""

import os
from collections.abc import Mapping

from ATTS.errors import UserError

VARIABLES = {"draft": "SMALL_MODEL_API_KEY", "target": "EVAL_MODEL_API_KEY", "model": "SMALL_MODEL_API_KEY"}
HIDDEN = "***"


def key(variable: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key in a variable, None if it is not set. Raises UserError for what can't be sent."""
    value = environment.get(variable, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise UserError(f"{variable} holds characters that no key has: set it again")
    return value or None


def of_role(role: str) -> str | None:
    """The key of a run's server. Raises UserError."""
    return key(VARIABLES[role]) if role in VARIABLES else None


def headers(role: str) -> dict[str, str]:
    """What a request to it carries. Raises UserError."""
    value = of_role(role)
    return {"Authorization": f"Bearer {value}"} if value else {}


def refused(role: str, url: str) -> UserError:
    """What to say of a server that answered with 401 or 403."""
    variable = VARIABLES.get(role, "its key")
    if of_role(role):
        return UserError(f"the {role} server at {url} refuses the key in {variable}: set that of its --api-key")
    return UserError(f"the {role} server at {url} wants a key: set {variable} to that of its --api-key")
