"""procrastinate's way to the database: the checkpointer's pool and its patience, and notices from the server itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, LiteralString

import psycopg
from procrastinate import PsycopgConnector
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow

from ..persistence import DatabaseUnreachable
from ..persistence.ledger.postgres_store import PostgresStore
from ..persistence.postgres_connect import direct_connection
from ..runs import Runs
from .errors import QueueNeedsPostgres
from .queue import bare_errors

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds before a lost connection for notices is made anew; until then the worker looks by itself

NEWS = '{"type": "job_inserted", "job_id": 0}'  # what the server says of a new job; procrastinate does not read the id

Notify = Callable[..., Awaitable[None]]  # called with `channel` and `payload`
Rows = list[dict[str, Any]]  # Any: columns


class PatientConnector(PsycopgConnector):
    """Waits out a short outage instead of ending the worker. It is never opened: it has no pool of its own.

    A statement whose answer was lost is repeated. At worst a job is fetched twice, the first time for nobody: then the
    run is stranded, and gets another job.
    """

    def __init__(self, runs: Runs) -> None:
        """Use the pool of these runs. Raises QueueNeedsPostgres."""
        super().__init__()
        store = runs.ledger.store
        if not isinstance(store, PostgresStore):
            raise QueueNeedsPostgres
        self._patient = store.pool
        self._settings = runs.settings
        self._news = 0  # how often there was word of a new job, or might have been

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """Execute a statement. Any, here and below: what psycopg can send."""

        async def execute(connection: AsyncConnection[DictRow]) -> None:
            await connection.execute(query, arguments)

        await self._patiently(execute)

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        """Execute a statement and return its one row.

        Where that is no job, and word of one came meanwhile, it may have come too late for the statement and too early
        for procrastinate, which forgets what it heard while it was looking: so look once more.
        """
        inherited = super().execute_query_one_async_with_connection
        while True:
            seen = self._news
            row: dict[str, Any] = await self._patiently(lambda connection: inherited(connection, query, **arguments))
            if row.get("id", 0) is not None or seen == self._news:
                return row

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> Rows:
        """Execute a statement and return its rows."""
        inherited = super().execute_query_all_async_with_connection
        rows: Rows = await self._patiently(lambda connection: inherited(connection, query, **arguments))
        return rows

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Hand notices on, until the task is cancelled. A transaction pooler has none, hence the direct URL.

        What came before it listened has sent its notice to nobody: so each connection begins with one.
        """
        channels = list(channels)
        named = [sql.SQL("LISTEN {}").format(sql.Identifier(channel)) for channel in channels]

        async def hand_on(channel: str, payload: str) -> None:
            self._news += 1
            await on_notification(channel=channel, payload=payload)

        while True:
            try:
                async with direct_connection(self._settings.migration_url, self._settings) as connection:
                    for listen in named:
                        await connection.execute(listen)
                    await hand_on(channels[0], NEWS)
                    async for notice in connection.notifies():
                        await hand_on(notice.channel, notice.payload)
            except (DatabaseUnreachable, psycopg.Error) as error:
                logger.debug("no news of the queue: %s", error)
            await asyncio.sleep(PAUSE)

    async def _patiently(self, execute: Callable[[AsyncConnection[DictRow]], Awaitable[Any]]) -> Any:
        async def act() -> Any:
            async with self._patient.connection() as connection:
                with bare_errors():
                    return await execute(connection)

        return await self._patient.repeat(act)
