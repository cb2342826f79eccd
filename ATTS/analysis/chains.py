"""The text of a stored sample."""

from ATTS.published.chain import JOINT
from ATTS.store.records import Record


def chain(sample: Record, by_compat: bool) -> str:
    """A sample's text; published ones were joined by blank lines. Chunks that were rejected are not in it."""
    outputs = [str(e["output"]) for e in sample["full_history"] if "output" in e and e.get("accepted", True)]
    return (JOINT if by_compat else "").join(outputs)
