"""Who holds the lock that a migration waits for.

PostgreSQL's own error says only that a lock was not to be had, and once the wait is over nobody can be asked whose it
was. So a second connection asks now and then, while a statement of the first is still waiting. It is opened only when
a migration takes long, and it asks in a transaction of its own each time: it must hold no snapshot itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow

from ..cancelling import end
from ..errors import ProjectError
from ..settings import Settings
from .errors import MigrationBlocked
from .postgres_connect import direct_connection
from .urls import describe

# Also for CREATE INDEX CONCURRENTLY, which waits for each transaction with an older snapshot by its virtualxid lock.
BLOCKERS = """
SELECT
    blocking.pid,
    coalesce(nullif(application_name, ''), backend_type, 'unknown') AS name,
    coalesce(state, 'unknown') AS state,
    extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change))::int AS seconds
FROM unnest(pg_blocking_pids(%s)) AS blocking (pid)
LEFT JOIN pg_stat_activity USING (pid)  -- hides the columns of other roles' sessions, but never the pid
ORDER BY seconds DESC NULLS LAST, pid
"""

_LOOKS = 4  # within one lock_timeout, so that the last one saw who was there when it ran out


@asynccontextmanager
async def naming_blockers(
    connection: AsyncConnection[DictRow], url: str, settings: Settings, lock_timeout: float
) -> AsyncIterator[None]:
    """Raise MigrationBlocked, which names the blockers, for a lock that a statement inside did not get."""
    async with watching_blockers(connection, url, settings, lock_timeout) as seen:
        try:
            yield
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            blockers = [(row["pid"], row["name"], row["state"], row["seconds"]) for row in seen]
            raise MigrationBlocked(describe(url), lock_timeout, blockers) from error


@asynccontextmanager
async def watching_blockers(
    connection: AsyncConnection[DictRow], url: str, settings: Settings, lock_timeout: float
) -> AsyncIterator[list[DictRow]]:
    """Yield a list that holds who blocked the connection last; BLOCKERS has its columns."""
    seen: list[DictRow] = []
    watch = asyncio.create_task(
        _watch(connection.info.backend_pid, url, settings, lock_timeout / _LOOKS, seen), name="blockers"
    )
    try:
        yield seen
    finally:
        await end(watch)


async def _watch(pid: int, url: str, settings: Settings, pause: float, seen: list[DictRow]) -> None:
    """Keep in `seen` who blocks the process `pid`, as far as that can be found out: the migration goes on anyway."""
    await asyncio.sleep(pause)
    with suppress(ProjectError):
        async with direct_connection(url, settings) as witness:
            while True:
                if rows := await (await witness.execute(BLOCKERS, (pid,))).fetchall():
                    seen[:] = rows
                await asyncio.sleep(pause)
