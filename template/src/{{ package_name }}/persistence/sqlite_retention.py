"""Forgetting in a SQLite file: find threads by age, archive, delete, restore and shorten them.

What keeps a run's work safe. A writing transaction has the file for itself, in all processes: what it looks at stays as
it is until it has deleted. So a thread goes only if its newest checkpoint is still the one from which its condition was
read, with nothing pending, and it goes at once or not at all.

What remains: a run that read the thread before its deletion and stores after it; a run that goes on
from an old checkpoint (a replay or fork) which is deleted meanwhile.

A checkpoint here holds the values of all its channels, so those that stay need nothing of those that go. The space of
deleted rows is used for new ones: the file does not shrink, it stops growing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver

from . import sqlite_retention_sql as sql
from .archive import CHUNK, Header, Row, archive_name, archived_chunks, check_archive, new_archive, size_of
from .errors import ArchiveUnknown, HistoryNeeded, ThreadExists
from .ledger import Transaction
from .ledger.sqlite_store import SqliteStore
from .retention import Rows, StoredThread
from .sqlite import SqliteSaver

SCHEMA = 1  # of the archived columns; the library numbers its tables not at all
FETCHED = 8  # rows at once: each may hold a whole state


def open_retention(checkpointer: BaseCheckpointSaver[str]) -> "SqliteRetention":
    """Return the retention over the checkpointer's connection."""
    if not isinstance(checkpointer, SqliteSaver):
        raise TypeError(f"{type(checkpointer).__name__} has no store: use one that open_checkpointer yields")
    return SqliteRetention(checkpointer.store)


class SqliteRetention:
    """Implements Retention. Each method has the connection for one transaction; runs of this process wait for it."""

    def __init__(self, store: SqliteStore) -> None:
        """Take the store of the file."""
        self._store = store

    async def estimate(self) -> int | None:
        """Return how many threads there are."""
        async with self._store.reading() as transaction:
            return int((await transaction.rows(sql.ESTIMATE, {}))[0]["threads"])

    async def page(self, after: str, limit: int, keep: int | None) -> list[StoredThread]:
        """Return the threads that follow `after` in the order of ids: a few look-ups in indexes for each."""
        async with self._store.reading() as transaction:
            rows = await transaction.rows(sql.PAGE, {"after": after, "limit": limit, "keep": keep})
        return [
            StoredThread(row["thread_id"], row["head"], row["newest"], asks=bool(row["asks"]), long=bool(row["long"]))
            for row in rows
        ]

    async def count(self, thread: str) -> Rows:
        """Return how many rows the thread has."""
        async with self._store.reading() as transaction:
            return await _count(transaction, thread)

    async def present(self, threads: Sequence[str]) -> list[str]:
        """Return those of the threads that have any row."""
        async with self._store.reading() as transaction:
            return sorted(await _present(transaction, threads))

    async def delete(self, thread: str, head: str, expected: Rows | None = None) -> Rows | None:
        """Delete the thread, or nothing if it is not as it was when the decision was taken."""
        async with self._store.writing() as transaction:
            rows = await _count(transaction, thread)
            (judged,) = await transaction.rows(sql.UNCHANGED, {"thread": thread, "head": head})
            if not judged["unchanged"] or not rows.total or expected not in {None, rows}:
                return None
            return await _delete(transaction.connection, sql.DELETE, {"thread": thread})

    async def trim(self, thread: str, keep: int, *, dry_run: bool = False) -> Rows | None:
        """Keep the newest `keep` checkpoints of each namespace."""
        if dry_run:
            async with self._snapshot() as transaction:
                _, floors = await _plan(transaction, thread, keep)
            return Rows(checkpoints=sum(below for _, below in floors.values()))
        async with self._store.writing() as transaction:
            calls, floors = await _plan(transaction, thread, keep)
            values = {"thread": thread}
            gone = [await _delete(transaction.connection, sql.DELETE_CALL, {**values, "ns": ns}) for ns in calls]
            for ns, (floor, _) in floors.items():
                below = {**values, "ns": ns, "floor": floor}
                gone.append(await _delete(transaction.connection, sql.DELETE_BELOW, below))
                await transaction.rows(sql.ORPHAN, below)
        return Rows(sum(rows.checkpoints for rows in gone), 0, sum(rows.writes for rows in gone))

    async def archive(self, thread: str, head: str, folder: Path) -> tuple[Path, Rows]:
        """Write the thread's rows, all of one snapshot, to a file in `folder`."""
        path = folder / archive_name(thread, head)
        async with self._snapshot() as transaction:
            rows = await _count(transaction, thread)
            counts = {"checkpoints": rows.checkpoints, "writes": rows.writes}
            async with new_archive(path, Header(thread, head, SCHEMA, counts)) as writer:
                for table, query in sql.ARCHIVED.items():
                    async for chunk in _streamed(transaction.connection, query, thread):
                        await asyncio.to_thread(writer.rows, table, chunk)
        return path, rows

    async def restore(self, file: Path) -> tuple[str, Rows]:
        """Bring an archived thread back, in one transaction."""
        header = await asyncio.to_thread(check_archive, file)
        if header.rows.keys() != sql.RESTORED.keys():
            raise ArchiveUnknown(file, f"rows of another backend, in {', '.join(header.rows)}")
        if header.schema > SCHEMA:
            raise ArchiveUnknown(file, f"schema {header.schema}, and this program knows {SCHEMA}")
        chunks = archived_chunks(file)
        async with self._store.writing() as transaction:
            if await _present(transaction, [header.thread_id]):
                raise ThreadExists(header.thread_id)
            while chunk := await asyncio.to_thread(next, chunks, None):
                await transaction.connection.executemany(sql.RESTORED[chunk[0]], chunk[1])
            rows = await _count(transaction, header.thread_id)
        return header.thread_id, rows

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Transaction]:
        """Yield a transaction that reads the file as it is now, whatever others write meanwhile."""
        async with self._store.reading() as transaction:
            try:  # as in SqliteStore.writing
                await transaction.connection.execute("BEGIN")
                yield transaction
            finally:
                await transaction.connection.rollback()


async def _plan(transaction: Transaction, thread: str, keep: int) -> tuple[list[str], dict[str, tuple[str, int]]]:
    """Return what goes: calls of sub-graphs, by namespace, and of each other one its floor and how many are below."""
    if (await transaction.rows(sql.USES_DELTA, {"thread": thread}))[0]["uses_delta"]:
        raise HistoryNeeded(thread)
    spaces = await transaction.rows(sql.FLOORS, {"thread": thread, "keep": keep})
    root_floor = next((space["floor"] for space in spaces if not space["checkpoint_ns"]), "")
    # The namespace of a call has its task's id behind a colon; that of a sub-graph which outlives its calls has none. A
    # call goes with the root checkpoint that it began from, if that one is stored: a call may be stored before it.
    calls = [
        space["checkpoint_ns"]
        for space in spaces
        if ":" in space["checkpoint_ns"] and space["root_stored"] and space["root"] < root_floor
    ]
    floors = {
        space["checkpoint_ns"]: (space["floor"], space["below"])
        for space in spaces
        if space["below"] and space["checkpoint_ns"] not in calls
    }
    return calls, floors


async def _count(transaction: Transaction, thread: str) -> Rows:
    return Rows(**(await transaction.rows(sql.COUNT, {"thread": thread}))[0])


async def _present(transaction: Transaction, threads: Sequence[str]) -> set[str]:
    rows = await transaction.rows(sql.PRESENT, {"threads": list(threads)})
    return {row["thread_id"] for row in rows}


async def _delete(connection: aiosqlite.Connection, statements: Iterable[str], values: dict[str, str]) -> Rows:
    """Delete writes by the first statement and checkpoints by the second."""
    counts: list[int] = []
    for statement in statements:
        async with connection.execute(statement, values) as cursor:
            counts.append(cursor.rowcount)
    return Rows(writes=counts[0], checkpoints=counts[1])


async def _streamed(connection: aiosqlite.Connection, query: str, thread: str) -> AsyncIterator[list[Row]]:
    """Yield a thread's rows in chunks."""
    chunk: list[Row] = []
    size = 0
    async with connection.execute(query, {"thread": thread}) as cursor:
        names = [column[0] for column in cursor.description]
        while fetched := list(await cursor.fetchmany(FETCHED)):
            rows: list[Any] = [dict(zip(names, values, strict=True)) for values in fetched]  # Any: columns
            chunk += rows
            size += sum(map(size_of, rows))
            if size > CHUNK:
                yield chunk
                chunk, size = [], 0
    yield chunk
