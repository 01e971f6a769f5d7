"""How the checkpointer's tables in PostgreSQL get the version that `postgres_schema` asks for.

Why the lock is polled. LangGraph's `setup()` is not safe when two processes run it at once: it fails, or leaves an
invalid index that nobody repairs. The obvious cure, a blocking `pg_advisory_lock`, is worse. A statement that waits for
a lock keeps its snapshot, and `CREATE INDEX CONCURRENTLY` in the process that holds the lock waits until every older
snapshot is gone: each waits for the other, with a deadlock error at best, and for ever where PostgreSQL cannot see the
cycle. `pg_try_advisory_lock` answers at once, so that between two looks a waiting process holds nothing at all.

The lock is taken on the connection that migrates. Should the connection be lost, the lock and the work end together; an
idle second connection could lose the lock while the work goes on. The lock belongs to a session, so the URL must lead
straight to the server: behind a transaction pooler it would exclude nobody, and stay behind on a borrowed connection.

Why it may be killed at any statement. `setup()` commits each migration by itself and then notes its number, and every
migration may run twice. Only an index that was being built is left invalid, which `IF NOT EXISTS` takes for there; so
indexes are looked at in every migration, after the last step and not only with it.
"""

import asyncio
import random
from typing import Protocol, cast

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow

from ..rooms import optional
from ..settings import Settings
from .errors import DirectUrlPooled, MigrationBusy
from .ledger.postgres_tables import create_tables
from .ledger.tables import CREATE_VERSIONS
from .postgres_blockers import naming_blockers
from .postgres_connect import direct_connection
from .postgres_schema import LOOK_WITHOUT_TABLES, check_library, check_version, check_writable, is_pooled, look
from .urls import describe

LOCK_TIMEOUT = 5.0
"""Seconds that one statement waits for its locks.

While an ALTER TABLE waits, every reader and writer of the table waits behind it, so this is below DATABASE_TIMEOUT: a
migration that cannot be done now must not fail the runs that are under way.
"""

TRY_LOCK = "SELECT pg_try_advisory_lock(%s) AS locked"  # released when the connection closes
SET_TIMEOUTS = """
SELECT
    set_config('lock_timeout', %s, false),
    set_config('statement_timeout', '0', false)  -- an index on a large table takes as long as it takes
"""
INVALID_INDEXES = """
SELECT
    nspname AS schema,
    relname AS name,
    relname ~ '_cc(new|old)[0-9]*$' AS leftover  -- of a REINDEX CONCURRENTLY that was interrupted
FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE NOT indisvalid
    AND indrelid IN (
        to_regclass('checkpoints'), to_regclass('checkpoint_blobs'), to_regclass('checkpoint_writes'),
        to_regclass('agent_runs'), to_regclass('agent_questions'), to_regclass('agent_audit')
    )
ORDER BY leftover DESC, relname  -- first what only has to go
"""
DROP_INDEX = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
REINDEX = sql.SQL("REINDEX INDEX CONCURRENTLY {}")

MIGRATION_LOCK = 0x6C67_6D69_6772_6174  # "lgmigrat": any number that nothing else in the database uses
_POLL = (0.05, 0.25)  # seconds between two looks, drawn anew each time so that processes spread


async def migrate(url: str, settings: Settings, wait: float) -> list[str]:
    """Bring the tables to KNOWN_SCHEMA and return what was done, a line each: nothing if it was done already.

    Raises DatabaseUnreachable, DirectUrlPooled, DatabaseReadOnly, RightsMissing, SchemaUnknown, SchemaDamaged, and
    MigrationBusy or MigrationBlocked for a lock that it did not get.
    """
    check_library()
    where = describe(url)
    async with direct_connection(url, settings) as connection:
        await _check_server(connection, where)
        await _lock(connection, where, wait)
        await connection.execute(SET_TIMEOUTS, (f"{LOCK_TIMEOUT * 1000:.0f}ms",))
        async with naming_blockers(connection, url, settings, LOCK_TIMEOUT):
            return [
                *await _create(connection, where),
                *await create_tables(connection),
                *await _create_queue(connection, where),
                *await _repair(connection),
            ]


async def _check_server(connection: AsyncConnection[DictRow], where: str) -> None:
    """Raise before anything is touched: through a pooler even the lock would do harm."""
    row = await (await connection.execute(LOOK_WITHOUT_TABLES)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    if is_pooled(connection, row):
        raise DirectUrlPooled(where)
    check_writable(row, where)


async def _lock(connection: AsyncConnection[DictRow], where: str, wait: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        row = await (await connection.execute(TRY_LOCK, (MIGRATION_LOCK,))).fetchone()
        if row is not None and row["locked"]:
            return
        if loop.time() > deadline:
            raise MigrationBusy(where, wait)
        await asyncio.sleep(random.uniform(*_POLL))  # noqa: S311 - spreads the processes, guards no secret


async def _create(connection: AsyncConnection[DictRow], where: str) -> list[str]:
    await connection.execute(CREATE_VERSIONS)  # without it nobody can look
    before = check_version(await look(connection, where), where)
    await AsyncPostgresSaver(connection).setup()
    steps = enumerate(AsyncPostgresSaver.MIGRATIONS)
    return [f"version {number}: {_head(statement)}" for number, statement in steps if number > before]


class _Queue(Protocol):
    async def create_queue(self, connection: AsyncConnection[DictRow], where: str) -> list[str]: ...


async def _create_queue(connection: AsyncConnection[DictRow], where: str) -> list[str]:
    room = optional("worker.schema")
    return await cast("_Queue", room).create_queue(connection, where) if room else []


async def _repair(connection: AsyncConnection[DictRow]) -> list[str]:
    done = []
    for row in await (await connection.execute(INVALID_INDEXES)).fetchall():
        statement = (DROP_INDEX if row["leftover"] else REINDEX).format(sql.Identifier(row["schema"], row["name"]))
        await connection.execute(statement)
        done.append(f"{'dropped the leftover' if row['leftover'] else 'rebuilt the invalid'} index {row['name']}")
    return done


def _head(statement: str) -> str:
    """Return the statement on one line, without a table's columns."""
    return " ".join(statement.partition("(\n")[0].split()).rstrip(" ;")
