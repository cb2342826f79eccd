"""Calibration: what is scored before a run, first chunks or whole chains turn by turn, and the array made of it."""
