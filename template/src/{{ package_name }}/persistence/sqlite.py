"""Threads in one SQLite file: the embedded default, for one machine.

Any number of processes may use the file. Tables are made when it is first opened.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from ..settings import Settings
from .clock import follow
from .errors import DatabaseUnreachable, LeaseLost
from .fence import INPUT, Fence, fence_of_checkpoint, fence_of_deletion, fence_of_writes
from .ledger import statements as sql
from .ledger.sqlite_store import SqliteStore
from .ledger.sqlite_tables import create_tables
from .sqlite_disk import check_disk
from .sqlite_url import MEMORY, sqlite_path
from .urls import describe

PAGE = 100  # checkpoints that a listing reads at once
CHUNK = 64  # rows that a cursor fetches at once; aiosqlite's own default

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
    """LangGraph's saver, which can list its threads, and stores for a run only while its lease holds."""

    def __init__(self, connection: aiosqlite.Connection, serde: JsonPlusSerializer, where: str) -> None:
        """Use a connection that stays open; `where` names the file in errors."""
        super().__init__(connection, serde=serde)
        self.where = where
        self._store = SqliteStore(connection, self.serde, where)

    @property
    def store(self) -> SqliteStore:
        """What the ledger is kept in."""
        return self._store

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, or the thread's newest."""
        async with self._store.reading():
            found = await super().aget_tuple(config)
        if found:
            follow(found.checkpoint["id"])
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - upstream's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first. The connection is free while the caller works on one."""
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(left, PAGE)
            async with self._store.reading():
                listed = super().alist(config, filter=filter, before=before, limit=page)
                found = [item async for item in listed]
            for item in found:
                yield item
            if len(found) < page:
                return
            left = None if left is None else left - page
            before = found[-1].config

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Return when the checkpoint is committed. Raises LeaseLost."""
        fence = fence_of_checkpoint(config["configurable"].get("checkpoint_ns", ""), metadata.get("source"))
        async with self._fenced(fence):
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Return when a task's writes are committed. Raises LeaseLost."""
        async with self._fenced(fence_of_writes(channel for channel, _ in writes)):
            await super().aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread, in one transaction. Raises LeaseLost."""
        async with self._fenced(fence_of_deletion()):
            await super().adelete_thread(thread_id)

    @asynccontextmanager
    async def _fenced(self, fence: Fence | None) -> AsyncIterator[None]:
        """Open the transaction that the block ends, if the lease holds in it, and mark what is given as given."""
        async with self._store.writing() as transaction:
            if fence:
                run = {"run": fence.run_id}
                if not await transaction.rows(sql.HELD, {**run, "attempt": fence.attempt}):
                    raise LeaseLost(fence.run_id, fence.attempt)
                if fence.gives == INPUT:
                    await transaction.rows(sql.GIVE_INPUT, run)
                elif fence.gives:
                    await transaction.rows(sql.GIVE_ANSWER, {**run, "question": fence.gives})
            yield

    async def alist_threads(self, limit: int) -> list[str]:
        """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
        async with self._store.reading(), self.conn.execute(LIST_THREADS, (limit,)) as cursor:
            return [row[0] async for row in cursor]


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[SqliteSaver]:
    """Yield a saver on the file, which is created with its folder when it is missing; or in memory, for tests.

    Raises DatabaseUnreachable or OnNetworkDisk.
    """
    path = sqlite_path(url)
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        if url != MEMORY:
            await asyncio.to_thread(check_disk, path)
        # Not opened by aiosqlite: when it cannot, it does not wait for the end of its thread, which may then speak to
        # an event loop that is closed.
        connect = partial(sqlite3.connect, path, timeout=settings.database_timeout, check_same_thread=False)
        file = await asyncio.to_thread(connect)
        connection = await aiosqlite.Connection(lambda: file, iter_chunk_size=CHUNK)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnreachable(describe(url), _reason(path, error)) from error
    try:
        saver = SqliteSaver(connection, serde, describe(url))
        try:
            await _prepare(saver, settings.database_timeout)
        except sqlite3.Error as error:
            raise DatabaseUnreachable(describe(url), _reason(path, error)) from error
        yield saver
    finally:
        await connection.close()


async def migrate(url: str, settings: Settings, wait: float) -> list[str]:
    """Create the tables. Return a line about it for a file that was not there before."""
    if url == MEMORY:
        return []  # whoever opens it makes the tables
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
            await create_tables(saver.conn, saver.where)
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
