"""Everything that a run needs, tried before it."""
