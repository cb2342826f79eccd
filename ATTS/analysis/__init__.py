"""Finished folders: grading, intervals, tables, comparisons, timing, pictures."""
