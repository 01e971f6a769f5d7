"""LangGraph's PostgreSQL saver over a pool: writes go out in groups, reads hold a connection for a query and no longer.

Upstream sends every call of a process through one lock, whatever the size of its pool.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncCursor
from psycopg.rows import DictRow, dict_row

from .clock import follow
from .errors import LeaseLost, SealingImpossible, ValueUnreadable
from .fence import fence_of_checkpoint, fence_of_deletion, fence_of_writes, is_blank
from .ledger import statements as sql
from .ledger.postgres_notices import Notices
from .ledger.postgres_store import Gathers, PostgresStore
from .postgres_commit import GroupCommit
from .postgres_figures import Figures
from .postgres_retry import PatientPool
from .postgres_rows import RowFormat, check_ids
from .postgres_seal_marks import key_in

PAGE = 100  # checkpoints that a listing reads at once

LIST_THREADS = """
SELECT thread_id
FROM checkpoints
WHERE checkpoint_ns = ''  -- the namespaces of sub-graphs are not threads
GROUP BY thread_id
ORDER BY max(checkpoint_id) DESC  -- checkpoint ids sort by time
LIMIT %s
"""
HOLD = f"{sql.HELD} FOR NO KEY UPDATE"  # until the transaction ends nobody takes the run over
OLDER = "(checkpoint_id, thread_id, checkpoint_ns) < (%s, %s, %s)"
NEWEST_FIRST = " ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC LIMIT %s"


class PostgresSaver(AsyncPostgresSaver):
    """A drop-in for LangGraph's saver, on the same tables."""

    def __init__(
        self,
        pool: PatientPool,
        commit: GroupCommit,
        serde: SerializerProtocol,
        row_format: RowFormat | None = None,
        notices: Notices | None = None,
        *,
        gathers: Gathers | None = None,
    ) -> None:
        """Use a pool and a group commit that are open for as long as the saver is used."""
        super().__init__(pool.pool, serde=serde)
        self._pool = pool
        self._commit = commit
        self._format = row_format or RowFormat()
        self._notices = notices
        self._gathers = gathers or {}

    @property
    def store(self) -> PostgresStore:
        """What the ledger is kept in."""
        if self._notices is None:
            raise TypeError("a saver that open_checkpointer did not open has no ledger")
        return PostgresStore(self._pool, self.serde, self._format, self._notices, self._gathers)

    @property
    def figures(self) -> Figures:
        """What was stored and how, since the saver was opened."""
        return self._pool.figures

    @property
    def waiting(self) -> int:
        """Calls that wait for the next batch."""
        return len(self._commit)

    def describe(self) -> str:
        """Return the figures in words."""
        pool = self._pool.pool.get_stats()
        connections = f"{pool['pool_size']} of {pool['pool_max']} connections are open"
        return f"{self.figures}; {connections}, {self.waiting} calls wait"

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Return when the checkpoint is committed.

        Raises CheckpointRefused, DatabaseUnreachable or LeaseLost, and before anything is sent what RowFormat raises.
        """
        rows = self._format.checkpoint_rows(self.serde, config, checkpoint, metadata, new_versions)
        namespace = config["configurable"].get("checkpoint_ns", "")
        await self._commit.store(rows, fence_of_checkpoint(namespace, metadata.get("source")))
        self._format.stored.add(rows.scalars)
        ids = config["configurable"]
        return {
            "configurable": {
                "thread_id": ids["thread_id"],
                "checkpoint_ns": ids["checkpoint_ns"],
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Return when a task's writes are committed. Raises CheckpointRefused, DatabaseUnreachable or LeaseLost."""
        if writes:
            fence = fence_of_writes(channel for channel, _ in writes)
            await self._commit.store(self._format.write_rows(self.serde, config, writes, task_id, task_path), fence)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, or the thread's newest. Raises DatabaseUnreachable."""
        check_ids(config)
        if is_blank(config["configurable"]):
            return None
        read = super().aget_tuple
        found = await self._pool.repeat(lambda: read(config))
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
        """Yield checkpoints, newest first. No connection is held while the caller works on one.

        Raises DatabaseUnreachable.
        """
        check_ids(config)
        filter = self._format.filter(filter)  # noqa: A001 - as above
        where, arguments = self._search_where(config, filter, before)
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(left, PAGE)
            rows = await self._rows(self.SELECT_SQL + where + NEWEST_FIRST, [*arguments, page])
            for row in rows:
                yield await self._load(row)
            if len(rows) < page:
                return
            if left is not None:
                left -= page
            last = (rows[-1]["checkpoint_id"], rows[-1]["thread_id"], rows[-1]["checkpoint_ns"])
            where, arguments = self._search_where(config, filter, before)
            where = f"{where} AND {OLDER} " if where else f"WHERE {OLDER} "
            arguments = [*arguments, *last]

    async def alist_threads(self, limit: int) -> list[str]:
        """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
        return [row["thread_id"] for row in await self._rows(LIST_THREADS, [limit])]

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread, in one transaction. Raises DatabaseUnreachable or LeaseLost."""
        fence = fence_of_deletion()

        async def delete() -> None:
            async with self._cursor(pipeline=True) as cursor:
                if fence:
                    await cursor.execute(HOLD, {"run": fence.run_id, "attempt": fence.attempt})
                    if not await cursor.fetchone():
                        raise LeaseLost(fence.run_id, fence.attempt)
                for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
                    await cursor.execute(f"DELETE FROM {table} WHERE thread_id = %s", (thread_id,))  # noqa: S608

        await self._pool.repeat(delete)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune threads, each in a transaction of its own to keep the latest; see AsyncPostgresSaver.

        Raises DatabaseUnreachable, and NotImplementedError at the first thread that uses a DeltaChannel.
        """
        prune = super().aprune
        if isinstance(thread_ids, str) or strategy != "keep_latest":
            await self._pool.repeat(lambda: prune(thread_ids, strategy=strategy))
            return
        for thread in thread_ids:  # one at a time, because the time of an attempt is limited
            await self._pool.repeat(partial(prune, [thread], strategy=strategy))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See AsyncPostgresSaver. Raises DatabaseUnreachable, or SealingImpossible."""
        self._format.refuse_delta()
        read = super().aget_delta_channel_history
        return await self._pool.repeat(lambda: read(config=config, channels=channels))

    async def _rows(self, query: str, arguments: list[Any]) -> list[DictRow]:
        async def read() -> list[DictRow]:
            async with self._cursor() as cursor:
                await cursor.execute(query, arguments, binary=True)
                return await cursor.fetchall()

        return await self._pool.repeat(read)

    async def _load(self, row: DictRow) -> CheckpointTuple:
        """Return a row as a checkpoint."""
        if row["checkpoint"]["v"] < 4 and row["parent_checkpoint_id"]:  # by LangGraph < 0.5, its sends stand elsewhere
            names = ("thread_id", "checkpoint_ns", "checkpoint_id")
            found = await self.aget_tuple({"configurable": {name: row[name] for name in names}})
            if found:
                return found
        return await self._load_checkpoint_tuple(row)

    async def _load_checkpoint_tuple(self, value: DictRow) -> CheckpointTuple:
        try:
            return await super()._load_checkpoint_tuple(self._format.opened(value))
        except ValueUnreadable as error:
            raise error.at(thread=value["thread_id"]) from None

    def _load_blobs(self, blob_values: list[tuple[bytes, bytes, bytes]]) -> dict[str, Any]:
        loaded: dict[str, Any] = {}
        for name, kind, blob in blob_values or ():
            try:
                loaded |= super()._load_blobs([(name, kind, blob)])
            except ValueUnreadable as error:
                raise error.at(name.decode()) from None
        return loaded

    def _migrate_pending_sends(
        self, pending_sends: list[tuple[bytes, bytes]], checkpoint: dict[str, Any], channel_values: list[Any]
    ) -> None:
        if any(key_in(kind.decode()) for kind, _ in pending_sends):
            raise SealingImpossible("what LangGraph before 0.5 had sent is not read from sealed rows")
        super()._migrate_pending_sends(pending_sends, checkpoint, channel_values)

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """Yield a cursor on a connection of its own; upstream says `pipeline` for statements that belong together."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(binary=True, row_factory=dict_row) as cursor,
        ):
            if pipeline:
                async with connection.transaction():
                    yield cursor
            else:
                yield cursor
