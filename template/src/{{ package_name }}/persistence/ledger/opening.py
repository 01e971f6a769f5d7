"""The ledger of a checkpointer: in the same database, over the same connections."""

from typing import Protocol, runtime_checkable

from langgraph.checkpoint.base import BaseCheckpointSaver

from .ledger import Ledger
from .moving import Also
from .store import Store


@runtime_checkable
class _HasStore(Protocol):
    @property
    def store(self) -> Store: ...


def open_ledger(checkpointer: BaseCheckpointSaver[str], also: Also | None = None) -> Ledger:
    """Return the ledger beside a checkpointer that `open_checkpointer` yields. Raises TypeError for another one."""
    if not isinstance(checkpointer, _HasStore):
        raise TypeError(f"{type(checkpointer).__name__} has no ledger: use one that open_checkpointer yields")
    return Ledger(checkpointer.store, also)
