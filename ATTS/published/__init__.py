"""The published driver, request by request and decision by decision: ``--compat published``.

Everything it does differently with a sample stands in this folder; what is imported here is all that
is used elsewhere. That one question's samples run at a time is the queue's part
(:mod:`ATTS.runs.evaluate`). What each difference is worth is told in docs/FIDELITY.md.
"""

from ATTS.published.chain import Author, PublishedChain
from ATTS.published.loop import published

__all__ = ["Author", "PublishedChain", "published"]
