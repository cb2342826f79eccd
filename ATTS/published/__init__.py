"""The published driver, request by request and decision by decision: ``--compat published``.

Everything it does differently from this project's method stands in this folder, and only its two
entrances, :class:`PublishedChain` and :func:`published`, are used elsewhere. What each difference
is worth is told in docs/FIDELITY.md.
"""

from ATTS.published.chain import Author, PublishedChain, find_answer_not_balanced
from ATTS.published.loop import published

__all__ = ["Author", "PublishedChain", "find_answer_not_balanced", "published"]
