"""The tables of the checkpointer in PostgreSQL: which version they have, and how they get a newer one.

Why the lock is polled. LangGraph's `setup()` is not safe when two processes run it at once: it fails, or leaves an
invalid index that nobody repairs. The obvious cure, a blocking `pg_advisory_lock`, is worse. A statement that waits for
a lock keeps its snapshot, and `CREATE INDEX CONCURRENTLY` in the process that holds the lock waits until every older
snapshot is gone: each waits for the other, with a deadlock error at best, and for ever where PostgreSQL cannot see the
cycle. `pg_try_advisory_lock` answers at once, so that between two looks a waiting process holds nothing at all.

The lock is taken on the connection that migrates. Should the connection be lost, the lock and the work end together; an
idle second connection could lose the lock while the work goes on. The lock belongs to a session, so the URL must lead
straight to the server: behind a transaction pooler it would exclude nobody.
"""

import asyncio
import random

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow

from ..settings import Settings
from .errors import MigrationBusy, SchemaDamaged
from .postgres_connect import direct_connection
from .urls import describe

SCHEMA_VERSION = len(AsyncPostgresSaver.MIGRATIONS) - 1
"""The version that the installed langgraph-checkpoint-postgres needs: the index of its last migration."""

READ_VERSION = """
SELECT
    max(v) AS version,
    to_regclass('checkpoints') IS NOT NULL
        AND to_regclass('checkpoint_blobs') IS NOT NULL
        AND to_regclass('checkpoint_writes') IS NOT NULL AS complete
FROM checkpoint_migrations
"""
TRY_LOCK = "SELECT pg_try_advisory_lock(%s) AS locked"  # released when the connection closes

_LOCK = 0x6C67_6D69_6772_6174  # "lgmigrat": any number that nothing else in the database uses
_POLL = (0.05, 0.25)  # seconds between two looks, drawn anew each time so that processes spread


async def schema_version(connection: AsyncConnection[DictRow], where: str) -> int:
    """Return the version of the tables, -1 without any. Raises SchemaDamaged when one is gone that should be there."""
    try:
        row = await (await connection.execute(READ_VERSION)).fetchone()
    except errors.UndefinedTable:
        return -1
    if row is None or row["version"] is None:
        return -1
    if row["version"] >= SCHEMA_VERSION and not row["complete"]:
        raise SchemaDamaged(where)
    return int(row["version"])


async def migrate(url: str, settings: Settings, wait: float) -> int:
    """Bring the tables to SCHEMA_VERSION. Return the number of steps: 0 if another process took them or none is due."""
    async with direct_connection(url, settings) as connection:
        await _lock(connection, describe(url), wait)
        before = await schema_version(connection, describe(url))
        await AsyncPostgresSaver(connection).setup()
        return max(0, SCHEMA_VERSION - before)


async def _lock(connection: AsyncConnection[DictRow], where: str, wait: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        row = await (await connection.execute(TRY_LOCK, (_LOCK,))).fetchone()
        if row is not None and row["locked"]:
            return
        if loop.time() > deadline:
            raise MigrationBusy(where, wait)
        await asyncio.sleep(random.uniform(*_POLL))  # noqa: S311 - spreads the processes, guards no secret
