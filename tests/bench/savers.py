"""The variants, side by side: each opens what it needs and yields a function that carries out one run."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from time import perf_counter
from uuid import uuid4

from acme_agent.persistence import INPUT, Fence, fenced, open_checkpointer, open_ledger
from acme_agent.persistence.ledger.postgres_gather import Gather
from acme_agent.persistence.ledger.postgres_store import PostgresStore
from acme_agent.runs.holder import new_holder
from acme_agent.settings import Settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Durability
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from .floor import open_floor
from .graph import build_graph, first_input, moments

POOL_SIZE = 10  # connections of every variant that has a pool: the template's default

Run = Callable[[str], Awaitable[list[float]]]
"""Carry out the run of a thread. Return when each superstep began, and when the last one was over."""

Opener = Callable[[str], AbstractAsyncContextManager[BaseCheckpointSaver[str] | None]]


@asynccontextmanager
async def _none(_: str) -> AsyncIterator[None]:
    yield None


@asynccontextmanager
async def _in_memory(_: str) -> AsyncIterator[InMemorySaver]:
    yield InMemorySaver()


@asynccontextmanager
async def _stock_pool(url: str) -> AsyncIterator[AsyncPostgresSaver]:
    """The pool with the connection arguments that LangGraph documents."""
    async with AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
        open=False,
    ) as pool:
        await pool.wait()
        yield AsyncPostgresSaver(pool)


def _ours(url: str) -> AbstractAsyncContextManager[BaseCheckpointSaver[str]]:
    settings = Settings(_env_file=None, database_pool_min=POOL_SIZE, database_pool_max=POOL_SIZE)
    return open_checkpointer(url, settings=settings)


LEDGER = "ledger"
NOTED = "noted"

SAVERS: dict[str, Opener] = {
    "none": _none,
    "memory": _in_memory,
    "stock": AsyncPostgresSaver.from_conn_string,
    "stock-pool": _stock_pool,
    "ours": _ours,
    NOTED: _ours,
    LEDGER: _ours,
}
_GIVEN = "json_to_recordset(%(given)s) AS given (run text)"
NOTE = f"INSERT INTO noted SELECT run, false FROM {_GIVEN} RETURNING run_id"
MARK = f"UPDATE noted SET over = true FROM {_GIVEN} WHERE run_id = given.run RETURNING run_id"

FLOOR = "plain-sql"
BASELINE = "stock-pool"

VARIANTS = {
    "none": "no checkpointer",
    "memory": "`InMemorySaver`",
    "stock": "stock, `from_conn_string`",
    "stock-pool": "stock over a pool",
    "ours": "**ours**",
    NOTED: "**ours**, with two bare statements a run",
    LEDGER: "**ours**, as runs of the ledger",
    FLOOR: "plain SQL, the same rows",
}
"""What is compared, in the tables' order, with the names that the tables show."""

WITHOUT_SERVER = frozenset({"none", "memory"})


@asynccontextmanager
async def open_run(variant: str, url: str, kilobytes: float) -> AsyncIterator[Run]:
    """Yield the variant's run on an empty, migrated database, with a first input of so many kilobytes."""
    async with AsyncExitStack() as opened:
        if variant == FLOOR:
            yield await opened.enter_async_context(open_floor(url, kilobytes, POOL_SIZE))
            return
        saver = await opened.enter_async_context(SAVERS[variant](url))
        graph = build_graph().compile(checkpointer=saver)
        durability: Durability | None = "sync" if saver else None  # without a saver LangGraph does not take it

        async def run(thread_id: str) -> list[float]:
            noted: list[float] = []
            token = moments.set(noted)  # the nodes' tasks inherit it
            config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
            await graph.ainvoke(first_input(kilobytes), config, durability=durability)
            moments.reset(token)
            return [*noted, perf_counter()]

        async def accepted_run(thread_id: str) -> list[float]:
            """Accepted with its input before it begins, every write under its lease, settled in the end."""
            accepted = await ledger.begin(str(uuid4()), thread_id, first_input(kilobytes), holder=new_holder())
            assert accepted
            assert accepted.blank
            with fenced(Fence(accepted.run_id, accepted.attempt, INPUT, {thread_id})):
                noted = await run(thread_id)
            await ledger.settle(accepted, "done")
            return [*noted[:-1], perf_counter()]

        async def noted_run(thread_id: str) -> list[float]:
            """What no ledger costs less than: a row before the run and a mark on it after, sent as the ledger's are."""
            given = {"run": str(uuid4())}
            await before.rows(given)
            noted = await run(thread_id)
            await after.rows(given)
            return [*noted[:-1], perf_counter()]

        if saver is None or variant not in {LEDGER, NOTED}:
            yield run
            return
        ledger = open_ledger(saver)
        if variant == LEDGER:
            yield accepted_run
            return
        assert isinstance(ledger.store, PostgresStore)
        async with ledger.store.pool.connection() as connection:
            await connection.execute("CREATE TABLE noted (run_id text PRIMARY KEY, over boolean)")
        before = await opened.enter_async_context(_gathered(ledger.store, NOTE))
        after = await opened.enter_async_context(_gathered(ledger.store, MARK))
        yield noted_run


@asynccontextmanager
async def _gathered(store: PostgresStore, statement: str) -> AsyncIterator[Gather]:
    gather = Gather(store.pool, statement)
    async with gather.open():
        yield gather
