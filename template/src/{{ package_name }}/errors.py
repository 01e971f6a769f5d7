"""The base of every error that this project raises on purpose."""

PROGRAM = (__package__ or "agent").replace("_", "-")
"""The command line's name, for the commands that error texts tell the reader to type."""


class ProjectError(Exception):
    """Something a person can mend: the text names the thing, its value (never a secret) and the remedy."""
