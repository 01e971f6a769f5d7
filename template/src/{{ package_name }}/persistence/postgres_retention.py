"""Forgetting in PostgreSQL: find threads by age, archive, delete and restore them. `postgres_trim` shortens the others.

What keeps a run's work safe. A thread is deleted by one statement, so at once or not at all, and only if its newest
checkpoint is still the one from which its condition was read, with nothing pending. Before the deletion is committed a
second look finds what a run has committed since, and then all of it is undone.

What remains: a run that read the thread before that commit and stores its first row after it. Its thread then begins
with that row, without the values that the run did not change. `present` finds such threads, and the purge reports them.
Only a record of who works on a thread can exclude this.

Deleted rows are dead tuples until autovacuum has freed their space; the files do not shrink, they stop growing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, Rollback, errors
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from . import postgres_retention_sql as sql
from .archive import CHUNK, Header, Row, archive_name, archived_chunks, check_archive, new_archive, size_of
from .errors import ArchiveUnknown, ThreadExists
from .postgres_schema import KNOWN_SCHEMA
from .postgres_trim import SNAPSHOT, trim
from .retention import Rows, StoredThread


def open_retention(checkpointer: BaseCheckpointSaver[str]) -> "PostgresRetention":
    """Return the retention over the checkpointer's pool."""
    if not isinstance(checkpointer, AsyncPostgresSaver) or not isinstance(checkpointer.conn, AsyncConnectionPool):
        raise TypeError(f"{type(checkpointer).__name__} has no pool: use one that open_checkpointer yields")
    return PostgresRetention(checkpointer.conn)


class PostgresRetention:
    """Implements Retention. Each method borrows a connection for one transaction."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[DictRow]]) -> None:
        """Take a pool whose connections are in autocommit mode and return rows as dictionaries."""
        self._pool = pool

    async def estimate(self) -> int | None:
        """Return about how many threads there are; None before the first ANALYZE."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(sql.ESTIMATE)).fetchone()
        return int(row["threads"]) if row and row["threads"] else None

    async def page(self, after: str, limit: int, keep: int | None) -> list[StoredThread]:
        """Return the threads that follow `after` in the order of ids: a few look-ups in indexes for each."""
        values = {"after": after, "limit": limit, "keep": keep}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql.PAGE, values)).fetchall()
        return [StoredThread(**row) for row in rows]

    async def count(self, thread: str) -> Rows:
        """Return how many rows the thread has."""
        async with self._pool.connection() as connection:
            return await _rows(connection, sql.COUNT, thread)

    async def present(self, threads: Sequence[str]) -> list[str]:
        """Return those of the threads that have any row."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(sql.PRESENT, {"threads": list(threads)})).fetchall()
        return sorted(row["thread_id"] for row in rows)

    async def delete(self, thread: str, head: str, expected: Rows | None = None) -> Rows | None:
        """Delete the thread, or nothing if it is not as it was when the decision was taken."""
        deleted = None
        async with self._pool.connection() as connection:
            try:
                async with connection.transaction():
                    await connection.execute(sql.LIGHTLY)
                    rows = await _rows(connection, sql.DELETE, thread, head)
                    since = await (await connection.execute(sql.PRESENT, {"threads": [thread]})).fetchall()
                    if since or not rows.total or expected not in {None, rows}:
                        raise Rollback
                    deleted = rows
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                return None
        return deleted

    async def trim(self, thread: str, keep: int, *, dry_run: bool = False) -> Rows | None:
        """Keep the newest `keep` checkpoints of each namespace."""
        async with self._pool.connection() as connection:
            return await trim(connection, thread, keep, dry_run=dry_run)

    async def archive(self, thread: str, head: str, folder: Path) -> tuple[Path, Rows]:
        """Write the thread's rows, all of one snapshot, to a file in `folder`."""
        path = folder / archive_name(thread, head)
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(SNAPSHOT)
            rows = await _rows(connection, sql.COUNT, thread)
            counts = {"checkpoints": rows.checkpoints, "checkpoint_blobs": rows.blobs, "checkpoint_writes": rows.writes}
            async with new_archive(path, Header(thread, head, KNOWN_SCHEMA, counts)) as writer:
                for table, query in sql.ARCHIVED.items():
                    async for chunk in _streamed(connection, query, thread):
                        await asyncio.to_thread(writer.rows, table, chunk)
        return path, rows

    async def restore(self, file: Path) -> tuple[str, Rows]:
        """Bring an archived thread back, in one transaction."""
        header = await asyncio.to_thread(check_archive, file)
        if header.rows.keys() != sql.RESTORED.keys():
            raise ArchiveUnknown(file, f"rows of another backend, in {', '.join(header.rows)}")
        if header.schema > KNOWN_SCHEMA:
            raise ArchiveUnknown(file, f"schema {header.schema}, and this program knows {KNOWN_SCHEMA}")
        chunks = archived_chunks(file)
        async with self._pool.connection() as connection:
            try:
                async with connection.transaction(), connection.cursor() as cursor:
                    if await (await cursor.execute(sql.PRESENT, {"threads": [header.thread_id]})).fetchall():
                        raise ThreadExists(header.thread_id)
                    while chunk := await asyncio.to_thread(next, chunks, None):
                        await cursor.executemany(sql.RESTORED[chunk[0]], chunk[1])
                    rows = await _rows(connection, sql.COUNT, header.thread_id)
            except errors.UniqueViolation:  # a run began the thread meanwhile
                raise ThreadExists(header.thread_id) from None
        return header.thread_id, rows


async def _rows(connection: AsyncConnection[DictRow], statement: str, thread: str, head: str = "") -> Rows:
    row = await (await connection.execute(statement, {"thread": thread, "head": head})).fetchone()
    return Rows(**row) if row else Rows()


async def _streamed(connection: AsyncConnection[DictRow], query: str, thread: str) -> AsyncIterator[list[Row]]:
    """Yield a thread's rows in chunks; the server sends on only as they are taken."""
    chunk: list[Row] = []
    size = 0
    async with connection.cursor() as cursor:
        async for row in cursor.stream(query, {"thread": thread}, binary=True):
            chunk.append(row)
            size += size_of(row)
            if size > CHUNK:
                yield chunk
                chunk, size = [], 0
    yield chunk
