"""Tasks: data sets, answer extraction, equivalence, the language model that extracts or judges."""
