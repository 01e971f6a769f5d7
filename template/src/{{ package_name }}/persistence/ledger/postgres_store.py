"""The ledger's statements on PostgreSQL, over the checkpointer's pool and with its patience."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow

from ..errors import ValueRefused
from ..postgres_retry import PatientPool
from ..postgres_rows import RowFormat
from . import statements as sql
from .postgres_dialect import POSTGRES
from .postgres_gather import Gather
from .postgres_notices import Notices
from .store import Conflict, Parameters, Row, Transaction

T = TypeVar("T")

spelled = cache(POSTGRES.spell)

LOCK_THREAD = "SELECT pg_advisory_xact_lock(hashtextextended(%(thread)s, 7236837))"  # any number that is only ours
ANNOUNCE = "SELECT pg_notify('agent_runs', '')"


Gathers = Mapping[str, Gather]  # by the statement


@asynccontextmanager
async def open_gathers(pool: PatientPool) -> AsyncIterator[Gathers]:
    """Yield what gathers the statements of the runs that begin, are claimed and end."""
    async with AsyncExitStack() as stack:
        moves = (sql.BEGIN, sql.CLAIM, sql.SETTLE_ALONE)
        gathers = {statement: Gather(pool, spelled(statement)) for statement in moves}
        for gather in gathers.values():
            await stack.enter_async_context(gather.open())
        yield gathers


class _Transaction:
    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self.connection = connection

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        cursor = await self.connection.execute(spelled(statement), parameters)
        result = cursor.pgresult
        # Not `cursor.description`, which makes an object of every column: a tenth of what a statement costs.
        return await cursor.fetchall() if result and result.nfields else []

    async def lock_thread(self, thread: str) -> None:
        await self.connection.execute(LOCK_THREAD, {"thread": thread})

    async def announce(self) -> None:
        await self.connection.execute(ANNOUNCE)


class PostgresStore:
    """See `store`."""

    def __init__(
        self, pool: PatientPool, serde: SerializerProtocol, row_format: RowFormat, notices: Notices, gathers: Gathers
    ) -> None:
        self.pool = pool
        self._serde = serde
        self._format = row_format
        self._notices = notices
        self._gathers = gathers

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one statement. Raises Conflict."""

        async def act() -> list[Row]:
            async with self.pool.connection() as connection:
                return await _Transaction(connection).rows(statement, parameters)

        gather = self._gathers.get(statement)
        try:
            return await (gather.rows(parameters) if gather else self.pool.repeat(act))
        except errors.UniqueViolation:
            raise Conflict from None

    async def transaction(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Execute several statements as one transaction."""

        async def attempt() -> T:
            async with self.pool.connection() as connection, connection.transaction():
                return await act(_Transaction(connection))

        result = await self.pool.repeat(attempt)
        self._notices.tell()
        return result

    @property
    def sealed(self) -> bool:
        """Whether there is a key."""
        return self._format.sealed

    def pack(self, thread: str, place: Sequence[str], value: object) -> tuple[str, bytes]:
        """Return a value's type and bytes, sealed if there is a key."""
        try:
            kind, packed = self._serde.dumps_typed(value)
        except ValueRefused as refusal:
            raise refusal.at(place[0], thread) from None
        return self._format.seal(thread, tuple(place), kind, packed)

    def unpack(self, thread: str, place: Sequence[str], kind: str, packed: bytes) -> Any:  # Any: what was packed
        """Return a stored value."""
        return self._serde.loads_typed(self._format.unseal(thread, tuple(place), kind, packed))

    @property
    def ticks(self) -> int:
        """Grows with every change."""
        return self._notices.ticks

    async def changes(self, since: int, pause: float) -> None:
        """Return when `ticks` has grown, or after `pause` seconds."""
        await self._notices.wait(since, pause)
