"""What PostgreSQL knows of its sessions and locks. See `inspection`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import time

import psycopg
from psycopg import AsyncConnection, Rollback, errors, sql
from psycopg.rows import DictRow

from ..settings import Settings
from . import postgres_inspection_sql as queries
from .inspection import Job, Place, Queue, Room, Session, SetUp, Transaction, Wait
from .ledger.postgres_store import LOCK_THREAD
from .postgres_blockers import watching_blockers
from .postgres_connect import connection_parameters, direct_connection
from .postgres_migrate import INVALID_INDEXES, MIGRATION_LOCK

SILENT = 30.0  # seconds after which the queue, too, takes a worker for dead
MOST_DATABASES = 50  # looked into for a thread that is lost


@asynccontextmanager
async def open_inspection(url: str, settings: Settings) -> AsyncIterator["PostgresInspection"]:
    """Yield an inspection. Raises DatabaseUnreachable."""
    async with direct_connection(url, settings) as connection:
        yield PostgresInspection(connection, url, settings)


class PostgresInspection:
    """See `inspection`."""

    def __init__(self, connection: AsyncConnection[DictRow], url: str, settings: Settings) -> None:
        self._connection = connection
        self._url = url
        self._settings = settings

    async def place(self) -> Place:
        """Return which database this is. The time is that between sending the question and reading the answer."""
        sent = time()
        row = await self._row(queries.PLACE)
        mean = (sent + time()) / 2
        try:
            system = (await self._row(queries.SYSTEM))["system"]
        except errors.InsufficientPrivilege:
            system = f"{row['address']}:{row['port']}"
        host = self._connection.info.host
        name = f"{row['database']}, schema {row['schema']}, PostgreSQL {row['version']} at {host}:{row['port']}"
        return Place(name, f"{system}/{row['number']}/{row['schema']}", row["now"] - mean)

    async def room(self) -> Room:
        """Return how many connections there are."""
        row = await self._row(queries.ROOM)
        clients = [(found["name"], found["client"], found["number"]) for found in await self._rows(queries.CLIENTS)]
        return Room(row["used"], row["most"], clients)

    async def waits(self, seconds: float) -> list[Wait]:
        """Return who waits for whom."""
        found: dict[int, Wait] = {}
        for row in await self._rows(queries.WAITS, seconds=seconds):
            waiting = Session(
                row["waiting_pid"],
                row["waiting_name"],
                row["waiting_client"],
                row["waiting_state"],
                None,
            )
            wait = found.get(waiting.pid) or Wait(waiting, row["statement"], row["waited"], ())
            found[waiting.pid] = Wait(waiting, wait.statement, wait.seconds, (*wait.blockers, _session(row)))
        return list(found.values())

    async def blockers(self, thread: str, seconds: float) -> list[Session] | None:
        """Try to get the locks that storing needs, for so long, and give them back at once."""
        async with (
            direct_connection(self._url, self._settings) as probe,
            watching_blockers(probe, self._url, self._settings, seconds) as seen,
        ):
            try:
                async with probe.transaction():
                    await probe.execute(queries.SET_LOCK_TIMEOUT, {"timeout": f"{seconds * 1000:.0f}ms"})
                    await probe.execute(queries.LOCK_TABLES)
                    await probe.execute(LOCK_THREAD, {"thread": thread})
                    await probe.execute(queries.LOCK_RUNS, {"thread": thread})
                    raise Rollback
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                return [Session(row["pid"], row["name"], "", row["state"], row["seconds"]) for row in seen]
            except (errors.UndefinedTable, errors.InsufficientPrivilege):
                pass  # others say what is wrong with that
        return None

    async def queue(self) -> Queue | None:
        """Return the workers and jobs."""
        if not (await self._row(queries.HAS_QUEUE))["has"]:
            return None
        return Queue(**await self._row(queries.QUEUE, seconds=SILENT))

    async def job(self, run: str) -> Job | None:
        """Return the job that is nearest."""
        if not (await self._row(queries.HAS_QUEUE))["has"]:
            return None
        rows = await self._rows(queries.JOB, run=run)
        return Job(**rows[0]) if rows else None

    async def elsewhere(self, thread: str) -> list[str]:
        """Look into every schema of every database that the role may open."""
        found = [
            f"schema {schema} of this database"
            for schema in await _schemas_with(self._connection, thread, everywhere=False)
        ]
        for row in await self._rows(queries.DATABASES, limit=MOST_DATABASES):
            name = row["database"]
            parameters = {**connection_parameters(self._url, self._settings), "dbname": name}
            with suppress(psycopg.Error):  # the role may not, or the database has just been dropped
                other: AsyncConnection[DictRow] = await AsyncConnection.connect(**parameters)
                async with other:
                    schemas = await _schemas_with(other, thread, everywhere=True)
                found += [f"database {name}, schema {schema}, of this server" for schema in schemas]
        return found

    async def set_up(self, seconds: float) -> SetUp:
        """Return what is in the way of a migration."""
        migrating = await self._rows(queries.MIGRATING, key=MIGRATION_LOCK)
        transactions = [
            Transaction(_session(row), row["snapshot"], tuple(row["tables"]))
            for row in await self._rows(queries.TRANSACTIONS, seconds=seconds)
        ]
        indexes = [f"{row['schema']}.{row['name']}" for row in await self._rows(INVALID_INDEXES)]
        timeouts = {row["name"]: row["setting"] for row in await self._rows(queries.TIMEOUTS)}
        sees = (await self._row(queries.SEES_ALL))["sees"]
        return SetUp(tuple(map(_session, migrating)), tuple(transactions), tuple(indexes), timeouts, sees)

    async def _rows(self, query: str, **parameters: object) -> list[DictRow]:
        return await (await self._connection.execute(query, parameters or None)).fetchall()

    async def _row(self, query: str, **parameters: object) -> DictRow:
        return (await self._rows(query, **parameters))[0]


def _session(row: DictRow) -> Session:
    return Session(row["pid"], row["name"], row["client"], row["state"], row["seconds"])


async def _schemas_with(connection: AsyncConnection[DictRow], thread: str, *, everywhere: bool) -> list[str]:
    """Return the schemas in which the thread is: those that the connection does not use by itself, or all."""
    found = []
    for row in await (await connection.execute(queries.SCHEMAS, {"everywhere": everywhere})).fetchall():
        query = sql.SQL(queries.FIND_THREAD).format(sql.Identifier(row["schema"], "checkpoints"))
        if await (await connection.execute(query, {"thread": thread})).fetchone():
            found.append(row["schema"])
    return found
