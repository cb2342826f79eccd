"""Speculative Thinking (arXiv 2504.12329): loop, configuration, run."""
