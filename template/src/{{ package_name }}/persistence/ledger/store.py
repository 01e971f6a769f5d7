"""What the ledger needs of a database: statements, alone or several as one transaction, and values as bytes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = dict[str, Any]  # Any: columns
Parameters = dict[str, Any]  # Any: columns


class Conflict(Exception):
    """A row with this key, or a running run of this thread, is there already."""


class Transaction(Protocol):
    """Statements that are committed together, or not at all."""

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one of `statements` and return its rows."""

    async def lock_thread(self, thread: str) -> None:
        """Wait until no other transaction that has called this for the thread is under way."""

    async def announce(self) -> None:
        """Let `Store.changes` return in every process, once this is committed."""

    @property
    def connection(self) -> Any:  # Any: of the database's own library
        """The database's own connection, for what else is to be committed with it."""


class Store(Protocol):
    """The database. All calls wait out a short outage, so `act` may be repeated. They raise DatabaseUnreachable."""

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one statement, which is a transaction, and return its rows."""

    async def transaction(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Return what `act` returns, once its statements are committed. An error in it undoes them."""

    @property
    def sealed(self) -> bool:
        """Whether values are encrypted."""

    def pack(self, thread: str, place: Sequence[str], value: object) -> tuple[str, bytes]:
        """Return a value's type and bytes as they are stored at `place`. Raises ValueRefused."""

    def unpack(self, thread: str, place: Sequence[str], kind: str, packed: bytes) -> Any:  # Any: what was packed
        """Return a stored value. Raises ValueUnreadable, NotSealed, SealedElsewhere or SealBroken."""

    @property
    def ticks(self) -> int:
        """Grows with every change that this process hears of."""

    async def changes(self, since: int, pause: float) -> None:
        """Return when something has changed since `ticks` was `since`, or after `pause` seconds."""
