"""The floor: the rows that a run stores, sent by bare psycopg. No LangGraph, no serialising, no reading.

A run's rows are recorded once, from the stock saver, and sent again under other thread ids: one transaction and one
round trip a superstep, with one multi-row statement a table, each run for itself. What a saver takes longer than this,
it or LangGraph spends on something else than storing. It is no lower bound for a saver that lets several runs share a
transaction: such a saver waits less often for the disk than this one does.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from .graph import SUPERSTEPS, build_graph, first_input, moments

Row = tuple[Any, ...]  # a table's columns, of several types; the thread's id, which is left out, comes first

_RECORDED = "recorded"

CHECKPOINTS = """
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata
FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id
"""
BLOBS = "SELECT checkpoint_ns, channel, version, type, blob FROM checkpoint_blobs WHERE thread_id = %s"
WRITES = """
SELECT checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
FROM checkpoint_writes WHERE thread_id = %s ORDER BY task_id, idx
"""
INSERT = {
    "writes": sql.SQL(
        "INSERT INTO checkpoint_writes"
        " (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob) VALUES {}"
    ),
    "blobs": sql.SQL("INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) VALUES {}"),
    "checkpoints": sql.SQL(
        "INSERT INTO checkpoints"
        " (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata) VALUES {}"
    ),
}


class Statement(NamedTuple):
    """A multi-row INSERT and its rows, without the thread's id."""

    query: bytes
    rows: Sequence[Row]

    def parameters(self, thread_id: str) -> list[Any]:
        """Return the values for a thread, row after row."""
        return [value for row in self.rows for value in (thread_id, *row)]


@asynccontextmanager
async def open_floor(
    url: str, kilobytes: float, pool_size: int
) -> AsyncIterator[Callable[[str], Awaitable[list[float]]]]:
    """Yield a run that sends the recorded rows; it returns what a variant's run returns."""
    commits = await _record(url, kilobytes)
    async with AsyncConnectionPool(
        url, kwargs={"autocommit": True}, min_size=pool_size, max_size=pool_size, open=False
    ) as pool:
        await pool.wait()

        async def run(thread_id: str) -> list[float]:
            noted: list[float] = []
            for statements in commits:
                noted.append(perf_counter())
                async with pool.connection() as connection, connection.pipeline():  # up to its sync: one transaction
                    for statement in statements:
                        await connection.execute(statement.query, statement.parameters(thread_id))
            return [*noted[-SUPERSTEPS:], perf_counter()]  # what was stored before the first node is no superstep

        yield run


async def _record(url: str, kilobytes: float) -> list[list[Statement]]:
    """Carry out one run with the stock saver; return its statements, a list for each checkpoint, oldest first."""
    moments.set([])
    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        config: RunnableConfig = {"configurable": {"thread_id": _RECORDED}}
        await build_graph().compile(checkpointer=saver).ainvoke(first_input(kilobytes), config, durability="sync")
    async with await AsyncConnection.connect(url) as connection:
        checkpoints, blobs, writes = [
            await (await connection.execute(query, (_RECORDED,))).fetchall() for query in (CHECKPOINTS, BLOBS, WRITES)
        ]
        commits = []
        stored: set[Row] = set()
        for namespace, checkpoint_id, parent_id, checkpoint, metadata in checkpoints:
            versions = set(checkpoint["channel_versions"].items()) - stored
            stored |= versions
            row = (namespace, checkpoint_id, parent_id, json.dumps(checkpoint), json.dumps(metadata))
            parts: dict[str, Sequence[Row]] = {
                "writes": [row for row in writes if row[1] == parent_id],
                "blobs": [row for row in blobs if row[1:3] in versions],
                "checkpoints": [row],
            }
            commits.append([_statement(table, rows, connection) for table, rows in parts.items() if rows])
    return commits


def _statement(table: str, rows: Sequence[Row], connection: AsyncConnection[Any]) -> Statement:
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * (len(rows[0]) + 1)))
    return Statement(INSERT[table].format(sql.SQL(", ").join([row] * len(rows))).as_bytes(connection), rows)
