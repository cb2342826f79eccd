"""Replies of a model by the content of the request, kept in a file, so that a rerun asks nothing twice."""

import json
from pathlib import Path

from ATTS.errors import UserError
from ATTS.store import atomic


class ReplyCache:
    """A JSON line a reply; a torn last line is ignored and asked again. Without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Raises UserError."""
        self._known: dict[str, str] = {}
        self._journal = atomic.Journal(path) if path else None
        try:
            for entry in atomic.read_lines(path) if path else ():
                if entry and entry.keys() >= {"request", "reply"}:
                    self._known[str(entry["request"])] = str(entry["reply"])
        except OSError as error:
            raise UserError(f"the file of replies {path} can't be read: {error.strerror}") from None

    def get(self, name: str) -> str | None:
        """The reply to this request; None if there is none."""
        return self._known.get(name)

    async def add(self, name: str, reply: str) -> None:
        """Returns when the reply is on the disk. Raises UserError."""
        self._known[name] = reply
        if self._journal is None:
            return
        try:
            await self._journal.add(json.dumps({"request": name, "reply": reply}).encode())
        except OSError as error:
            raise UserError(
                f"{self._journal.path} can't be written: {error.strerror}; the replies before it are kept. Make room"
                " and rerun the same command, or name another file with --llm_cache"
            ) from None
