"""What docs/PERFORMANCE.md measures: one module a script, a table for people and JSON behind it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def show(columns: Sequence[str], rows: Sequence[Sequence[object]], figures: Mapping[str, Any]) -> None:
    """A Markdown table, then the figures as one line of JSON."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    print(json.dumps(figures))
