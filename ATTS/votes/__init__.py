"""Votes of a question's samples, and rules that tell when its answers have decided it. No input or output."""
