"""The look with which every start begins: one query, and for whatever is wrong an error that says what to do.

A start changes nothing; `postgres_migrate` does. The rows that our saver writes fit the tables of one version, so a
newer version is refused like an older one: nobody knows yet what it means.

How a transaction pooler is recognised. A log-in tells the client a process id, for cancelling. PostgreSQL tells that of
the process that serves the connection; PgBouncer, which lends its server connections out anew for each transaction,
makes one up. Measured with PgBouncer 1.18 before PostgreSQL 15 and 18: on none of 540 pooled connections, 90 open at a
time, was it what pg_backend_pid() says; on all of 200 direct ones it was. In session mode PgBouncer makes one up too.
"""

import asyncio
from typing import Protocol, cast

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, errors, sql
from psycopg.rows import DictRow

from ..rooms import optional
from ..settings import Settings
from .errors import (
    DatabaseReadOnly,
    DatabaseUnreachable,
    DirectUrlMissing,
    LedgerMissing,
    LedgerUnknown,
    RightsMissing,
    SchemaDamaged,
    SchemaMissing,
    SchemaUnknown,
)
from .ledger.tables import KNOWN_VERSION as KNOWN_LEDGER
from .postgres_connect import direct_connection
from .urls import describe

KNOWN_SCHEMA = 9
"""The version of the tables that this room was written for: the number of upstream's last migration."""

LOOK = """
SELECT
    pg_backend_pid() AS pid,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only')::boolean AS read_only,
    quote_ident(current_user) AS role,
    (SELECT max(v) FROM checkpoint_migrations) AS version,
    (SELECT coalesce(max(v), 0) FROM agent_versions) AS ledger,
    to_regclass('checkpoints') IS NOT NULL
        AND to_regclass('checkpoint_blobs') IS NOT NULL
        AND to_regclass('checkpoint_writes') IS NOT NULL
        AND to_regclass('agent_runs') IS NOT NULL
        AND to_regclass('agent_questions') IS NOT NULL
        AND to_regclass('agent_audit') IS NOT NULL AS complete,
    ARRAY(
        SELECT format('%s ON %s.%I', string_agg(needed, ', ' ORDER BY place), relnamespace::regnamespace, relname)
        FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS one (needed, place)
        WHERE pg_class.oid IN (
                to_regclass('checkpoints'), to_regclass('checkpoint_blobs'), to_regclass('checkpoint_writes'),
                to_regclass('agent_runs'), to_regclass('agent_questions')
            )
            AND NOT has_table_privilege(pg_class.oid, needed)
        GROUP BY relnamespace, relname
        ORDER BY relname
    ) AS lacking
"""
LOOK_WITHOUT_TABLES = """
SELECT
    pg_backend_pid() AS pid,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only')::boolean AS read_only
"""

_NEWER_TABLES = (
    "A newer release migrated it: deploy that one, or type: copier update && "
    "uv lock --upgrade-package langgraph-checkpoint-postgres"
)
_OTHER_LIBRARY = (
    "Go back to the version that uv.lock names (type: uv sync --locked), or take the release that knows the new one "
    "(type: copier update)"
)


async def check_schema(url: str, settings: Settings) -> None:
    """Return when an app can work on this database as it is.

    Raises, in this order: SchemaUnknown for the library, DatabaseUnreachable, SchemaMissing without tables (which the
    query needs), DirectUrlMissing, DatabaseReadOnly, RightsMissing, and SchemaMissing, SchemaUnknown or SchemaDamaged
    for the version; all within `settings.database_timeout` seconds.

    A connection of its own, because a pool retries in the background and reports any cause as its own timeout.
    """
    check_library()
    where = describe(url)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.database_timeout
    async with direct_connection(url, settings) as connection:
        # A server that falls silent after the log-in: a cancelled query would wait ten seconds more for a last word.
        silence = loop.call_at(deadline, connection.pgconn.finish)
        try:
            row = await look(connection, where)
        except errors.OperationalError:
            if loop.time() < deadline:
                raise
            raise DatabaseUnreachable(where, f"no answer within {settings.database_timeout:g} s") from None
        finally:
            silence.cancel()
        if row is None:
            raise SchemaMissing(where, -1, KNOWN_SCHEMA)
        if is_pooled(connection, row) and not settings.database_direct_url.get_secret_value():
            raise DirectUrlMissing(where)
        check_writable(row, where)
        room = cast("_Queue | None", optional("worker.schema"))
        queue = await room.look_at_queue(connection) if room else {"lacking": []}
        if lacking := [*row["lacking"], *queue["lacking"]]:
            raise RightsMissing(where, row["role"], lacking)
        if check_version(row, where) < KNOWN_SCHEMA:
            raise SchemaMissing(where, -1 if row["version"] is None else row["version"], KNOWN_SCHEMA)
        if row["ledger"] < KNOWN_LEDGER:
            raise LedgerMissing(where)
        if room:
            room.check_queue(queue, where)


class _Queue(Protocol):
    async def look_at_queue(self, connection: AsyncConnection[DictRow]) -> DictRow: ...

    def check_queue(self, row: DictRow, where: str) -> None: ...


async def look(connection: AsyncConnection[DictRow], where: str) -> DictRow | None:
    """Return LOOK's row, None without the table of migrations. Raises RightsMissing where it cannot be read."""
    try:
        return await (await connection.execute(LOOK)).fetchone()
    except errors.UndefinedTable as error:
        if "agent_versions" in str(error):
            raise LedgerMissing(where) from None
        return None
    except errors.InsufficientPrivilege:
        role = sql.Identifier(connection.info.user).as_string(connection)
        raise RightsMissing(where, role, ["SELECT ON checkpoint_migrations", "SELECT ON agent_versions"]) from None


def is_pooled(connection: AsyncConnection[DictRow], row: DictRow) -> bool:
    """Return whether a pooler stands between this connection and the server that answered with `row`."""
    return bool(connection.pgconn.backend_pid != row["pid"])


def check_writable(row: DictRow, where: str) -> None:
    """Raise DatabaseReadOnly for a standby, and for a role or database that is set to read-only."""
    if row["standby"] or row["read_only"]:
        raise DatabaseReadOnly(where, standby=row["standby"])


def check_version(row: DictRow | None, where: str) -> int:
    """Return the version of the tables, -1 without any. Raises SchemaUnknown for a newer one, and SchemaDamaged."""
    if row is None or row["version"] is None:
        return -1
    version = int(row["version"])
    if version > KNOWN_SCHEMA:
        raise SchemaUnknown(where, version, KNOWN_SCHEMA, _NEWER_TABLES)
    if row["ledger"] > KNOWN_LEDGER:
        raise LedgerUnknown(where, row["ledger"], KNOWN_LEDGER)
    if version == KNOWN_SCHEMA and row["ledger"] == KNOWN_LEDGER and not row["complete"]:
        raise SchemaDamaged(where)
    return version


def check_library() -> None:
    """Raise SchemaUnknown unless the installed library makes the tables that this room was written for."""
    brought = len(AsyncPostgresSaver.MIGRATIONS) - 1
    if brought != KNOWN_SCHEMA:
        raise SchemaUnknown("The installed langgraph-checkpoint-postgres", brought, KNOWN_SCHEMA, _OTHER_LIBRARY)
