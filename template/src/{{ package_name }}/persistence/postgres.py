"""Threads in PostgreSQL: one pool of connections a process, for any number of processes and machines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from ..settings import Settings
from .errors import SchemaMissing
from .postgres_connect import connection_parameters, direct_connection
from .postgres_migrate import SCHEMA_VERSION, schema_version
from .urls import describe

LIST_THREADS = """
SELECT thread_id
FROM checkpoints
WHERE checkpoint_ns = ''  -- the namespaces of sub-graphs are not threads
GROUP BY thread_id
ORDER BY max(checkpoint_id) DESC  -- checkpoint ids sort by time
LIMIT %s
"""


class PostgresSaver(AsyncPostgresSaver):
    """LangGraph's saver, which can list its threads."""

    async def alist_threads(self, limit: int) -> list[str]:
        """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
        async with self._cursor() as cursor:
            await cursor.execute(LIST_THREADS, (limit,))
            return [row["thread_id"] async for row in cursor]


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[PostgresSaver]:
    """Yield a saver on a pool that closes with the context, after a look at the schema."""
    await _check_schema(url, settings)
    async with AsyncConnectionPool(
        connection_class=AsyncConnection[DictRow],
        kwargs=connection_parameters(url, settings),
        min_size=settings.database_pool_min,
        max_size=settings.database_pool_max,
        timeout=settings.database_timeout,
        check=AsyncConnectionPool.check_connection,  # a restarted server costs a reconnect and not a run
        open=False,  # by the context manager, inside the event loop
    ) as pool:
        yield PostgresSaver(pool, serde=serde)


async def _check_schema(url: str, settings: Settings) -> None:
    """Raise SchemaMissing unless the tables are as new as the installed library; in a rolling release they are newer.

    A connection of its own, because a pool retries in the background and reports any cause as its own timeout.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.database_timeout
    async with direct_connection(url, settings) as connection:
        # A server that falls silent after the log-in: a cancelled query would wait ten seconds more for a last word.
        silence = loop.call_at(deadline, connection.pgconn.finish)
        try:
            version = await schema_version(connection, describe(url))
        finally:
            silence.cancel()
    if version < SCHEMA_VERSION:
        raise SchemaMissing(describe(url), version, SCHEMA_VERSION)
