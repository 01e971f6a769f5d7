"""The ledger's statements on SQLite, over the checkpointer's connection: one transaction at a time."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar

import aiosqlite
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..errors import DatabaseUnreachable
from .dialect import SQLITE
from .store import Conflict, Parameters, Row, Transaction
from .unsealed import Unsealed

T = TypeVar("T")

DATA_VERSION = "PRAGMA data_version"  # changes when another connection has committed
_DUPLICATES = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
LOOK = 0.05  # seconds between two looks at it


@cache
def spelled(statement: str) -> str:
    """Return a statement in SQLite's words, and with its form of parameters."""
    return re.sub(r"%\((\w+)\)s", r":\1", SQLITE.spell(statement)).replace("%%", "%")


class _Transaction:
    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in parameters.items()}
        async with self.connection.execute(spelled(statement), values) as cursor:
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    async def lock_thread(self, thread: str) -> None:
        """Do nothing: a writing transaction has the file for itself."""

    async def announce(self) -> None:
        """Do nothing: others see that the file has changed."""


class SqliteStore(Unsealed):
    """See `store`. `where` names the file in errors."""

    def __init__(self, connection: aiosqlite.Connection, serde: SerializerProtocol, where: str) -> None:
        super().__init__(serde)
        self.ticks = 0
        self._connection = connection
        self._where = where
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[_Transaction]:
        """Yield the connection, which nobody else uses meanwhile.

        A SELECT whose rows are not all fetched keeps its snapshot: every other SELECT of the connection would see the
        database as it was then, and a BEGIN would be refused as locked.
        """
        async with self._alone:
            yield _Transaction(self._connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[_Transaction]:
        """Yield a transaction that has the file for itself. What the block does not commit is committed after it.

        Raises DatabaseUnreachable when another process has the file for longer than DATABASE_TIMEOUT.
        """
        async with self._alone:
            try:
                try:  # a BEGIN whose caller is cancelled is carried out all the same, so it needs the rollback, too
                    await self._connection.execute("BEGIN IMMEDIATE")
                    yield _Transaction(self._connection)
                    await self._connection.commit()
                except BaseException:
                    await self._connection.rollback()
                    raise
            except sqlite3.OperationalError as error:
                raise DatabaseUnreachable(self._where, str(error)) from error
        self.ticks += 1

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one statement. Raises Conflict."""
        if statement.lstrip().startswith("SELECT"):
            async with self.reading() as transaction:
                return await transaction.rows(statement, parameters)
        try:
            async with self.writing() as transaction:
                return await transaction.rows(statement, parameters)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode not in _DUPLICATES:
                raise
            raise Conflict from None

    async def transaction(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Execute several statements as one transaction."""
        async with self.writing() as transaction:
            return await act(transaction)

    async def changes(self, since: int, pause: float) -> None:
        """Return when something has changed since `ticks` was `since`, or after `pause` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + pause
        version = await self._version()
        while self.ticks == since and loop.time() < deadline:
            await asyncio.sleep(min(LOOK, pause))
            if await self._version() != version:
                return

    async def _version(self) -> int:
        async with self.reading() as transaction:
            rows = await transaction.rows(DATA_VERSION, {})
        return int(rows[0]["data_version"])
