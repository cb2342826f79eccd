"""SpecReason (arXiv 2504.07891): loop, models, run."""
