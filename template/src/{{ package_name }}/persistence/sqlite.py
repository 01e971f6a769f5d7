"""Threads in one SQLite file: the embedded default, for one machine.

Any number of processes may use the file. Tables are made when it is first opened.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from ..settings import Settings
from .errors import DatabaseUnreachable
from .urls import describe, sqlite_path

LIST_THREADS = """
SELECT thread_id
FROM checkpoints
WHERE checkpoint_ns = ''  -- the namespaces of sub-graphs are not threads
GROUP BY thread_id
ORDER BY max(checkpoint_id) DESC  -- checkpoint ids sort by time
LIMIT ?
"""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PRIMARY_CODE = 0xFF  # the low byte of an extended result code


class SqliteSaver(AsyncSqliteSaver):
    """LangGraph's saver, which can list its threads."""

    async def alist_threads(self, limit: int) -> list[str]:
        """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
        async with self.lock, self.conn.execute(LIST_THREADS, (limit,)) as cursor:
            return [row[0] async for row in cursor]


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[SqliteSaver]:
    """Yield a saver on the file, which is created with its folder when it is missing."""
    path = sqlite_path(url)
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        connection = await aiosqlite.connect(path, timeout=settings.database_timeout)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnreachable(describe(url), _reason(path, error)) from error
    try:
        saver = SqliteSaver(connection, serde=serde)
        try:
            await _prepare(saver, settings.database_timeout)
        except sqlite3.Error as error:
            raise DatabaseUnreachable(describe(url), _reason(path, error)) from error
        yield saver
    finally:
        await connection.close()


async def migrate(url: str, settings: Settings, wait: float) -> list[str]:
    """Create the tables. Return a line about it for a file that was not there before."""
    missing = not await asyncio.to_thread(sqlite_path(url).exists)
    patient = settings.model_copy(update={"database_timeout": wait})
    async with open_saver(url, patient, JsonPlusSerializer(allowed_msgpack_modules=())):
        return [f"created {sqlite_path(url)}"] if missing else []


async def _prepare(saver: SqliteSaver, patience: float) -> None:
    """Make the tables, switch to the write-ahead log and prove that the file can be written.

    SQLite's own busy timeout does not cover the switch to the write-ahead log: it needs the file alone and gives up at
    once when another process is opening the same new file. So the whole, which is idempotent, is tried again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            await saver.setup()
            await saver.conn.execute("BEGIN IMMEDIATE")  # reading works on a read-only disk, this does not
            await saver.conn.rollback()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE not in _BUSY or loop.time() > deadline:
                raise
            await asyncio.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads the processes, guards no secret
        else:
            return


def _reason(path: Path, error: OSError | sqlite3.Error) -> str:
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it does not fail below a closed folder
        return "it is a folder, not a file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
