"""The one kind of error that is for people."""


class Problem(Exception):
    """Something a person must put right. The message says what happened, to which file, server or
    sample, and what to do; front doors print it and exit with status 2."""
