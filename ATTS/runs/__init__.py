"""Runs: settings, the queue over samples, the result store, metrics, reports."""
