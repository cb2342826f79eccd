"""Shards of a run joined to one result."""
