"""The methods that ATTS is compared with, a folder each, and the comparison."""
