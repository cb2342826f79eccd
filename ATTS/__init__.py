"""ATTS: asynchronous test-time scaling with a draft model, a target model and conformal rejection."""

__version__ = "0.1.0"
