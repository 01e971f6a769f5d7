"""Forgetting: what a backend offers to whoever applies the policy.

The words: a thread's head is its newest checkpoint outside sub-graphs, and its condition was read from it. Rows that
have no head, such as writes that a run stored after its thread was deleted, are leftovers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

from langgraph.checkpoint.base import BaseCheckpointSaver

from .urls import backend_of, module_of

_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)  # RFC 9562; its clock ticks every 100 ns


@dataclass(frozen=True)
class StoredThread:
    """A thread as a look at the indexes shows it, without its state."""

    thread_id: str
    head: str  # empty for leftovers
    newest: str  # the newest checkpoint id of any row
    asks: bool  # the head holds a question; it may have been answered
    long: bool  # it has more checkpoints in a namespace than are to be kept


@dataclass(frozen=True)
class Rows:
    """Numbers of rows."""

    checkpoints: int = 0
    blobs: int = 0
    writes: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.checkpoints + self.blobs + self.writes


class Retention(Protocol):
    """Finds, archives, deletes and shortens threads, each in one short transaction."""

    async def estimate(self) -> int | None:
        """Return about how many threads there are, as the server's statistics have it, or None."""

    async def page(self, after: str, limit: int, keep: int | None) -> list[StoredThread]:
        """Return the `limit` threads whose ids follow `after`; `keep` is the number that makes a thread `long`."""

    async def count(self, thread: str) -> Rows:
        """Return how many rows the thread has."""

    async def delete(self, thread: str, head: str, expected: Rows | None = None) -> Rows | None:
        """Delete the thread, or nothing: None if it is no longer as it was when the decision was taken.

        As it was: its head is `head`, the head has no pending writes, and its rows are as many as `expected`.
        """

    async def trim(self, thread: str, keep: int, *, dry_run: bool = False) -> Rows | None:
        """Keep the newest `keep` checkpoints of each namespace. Return what went; None if a run is in the way.

        Raises HistoryNeeded for a thread whose state is spread over its history.
        """

    async def archive(self, thread: str, head: str, folder: Path) -> tuple[Path, Rows]:
        """Write the thread's rows to a file in `folder`. Return the file and the numbers of rows in it."""

    async def restore(self, file: Path) -> tuple[str, Rows]:
        """Bring an archived thread back. Return its id and its rows.

        Raises ArchiveDamaged, ArchiveUnknown or ThreadExists, and has then changed nothing.
        """

    async def present(self, threads: Sequence[str]) -> list[str]:
        """Return those of the threads that have any row."""


class _Opener(Protocol):
    def open_retention(self, checkpointer: BaseCheckpointSaver[str]) -> Retention: ...


def open_retention(url: str, checkpointer: BaseCheckpointSaver[str]) -> Retention:
    """Return the retention of a checkpointer that `open_checkpointer(url)` yields, over the same connections."""
    opener = cast("_Opener", module_of(backend_of(url).RETENTION))
    return opener.open_retention(checkpointer)


def oldest_id(moment: datetime) -> str:
    """Return a checkpoint id that sorts before all that were made later: an id begins with its time."""
    ticks = int((moment - _UUID_EPOCH).total_seconds() * 1_000_000) * 10
    digits = f"{ticks >> 12:012x}"
    return f"{digits[:8]}-{digits[8:]}-6{ticks & 0xFFF:03x}-8000-000000000000"
