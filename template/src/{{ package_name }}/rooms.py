"""Rooms that a project may do without: their files come and go with an answer, so they are named and not imported."""

from importlib import import_module
from types import ModuleType


def optional(module: str) -> ModuleType | None:
    """Return a module of this package, such as `worker.queue`; None in a project without that room."""
    name = f"{__package__}.{module}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {name, name.rpartition(".")[0]}:  # the room is there, a library that it needs is not
            raise
        return None
