"""Keep the newest checkpoints of a thread that lives: it goes on, answers and shows its history as before."""

import asyncio
import operator
import sqlite3
from contextlib import closing
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from acme_agent.persistence import HistoryNeeded, open_checkpointer, open_retention
from acme_agent.settings import Settings
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
CONFIG: Any = {"configurable": {"thread_id": "t"}}  # Any: a RunnableConfig, which pyright and mypy spell differently


class State(TypedDict, total=False):
    turns: int
    notes: Annotated[list[str], operator.add]
    last: str


class Branch(TypedDict):
    number: int


class Inner(TypedDict, total=False):
    last: str


def build(saver: Any, *, asks: bool = True) -> Any:
    """A graph with parallel branches and a sub-graph that asks. Any: a compiled graph of whatever state."""

    async def first(state: State) -> State:
        return {"turns": state.get("turns", 0) + 1, "last": f"turn {state.get('turns', 0) + 1}"}

    async def branch(state: Branch) -> State:
        return {"notes": [f"branch {state['number']}"]}

    async def prepare(state: Inner) -> Inner:
        return {"last": "prepared"}

    async def ask(state: Inner) -> Inner:
        return {"last": interrupt({"question": "go on?"}) if asks else "not asked"}

    async def finish(state: State) -> State:
        return {"notes": ["finished"]}

    inner = StateGraph(Inner)
    inner.add_sequence([("prepare", prepare), ("ask", ask)]).add_edge(START, "prepare")
    graph = StateGraph(State)
    graph.add_node("first", first)
    graph.add_node("branch", branch)
    graph.add_node("inner", inner.compile())
    graph.add_node("finish", finish)
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", lambda _: [Send("branch", {"number": n}) for n in range(3)], ["branch"])
    graph.add_edge("branch", "inner")
    graph.add_edge("inner", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=saver)


async def turns(graph: Any, number: int) -> None:
    """Run whole turns, each with its answer. Any: a compiled graph."""
    for _ in range(number):
        await graph.ainvoke({}, CONFIG, durability="sync")
        if (await graph.aget_state(CONFIG)).interrupts:
            await graph.ainvoke(Command(resume="yes"), CONFIG, durability="sync")


def rows_of(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return every row of every table as the server prints it."""
    return {
        table: [row for (row,) in connection.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
        for table in TABLES
    }


def look(url: str) -> Any:
    """Connect to a database of either kind, for a look at its tables. Any: the connections of psycopg and sqlite3."""
    if url.startswith("sqlite"):
        return closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None))
    return psycopg.connect(url, autocommit=True)


def unreferenced(url: str) -> int:
    """Return the number of blobs that no checkpoint refers to, and of writes without their checkpoint."""
    writes = "writes" if url.startswith("sqlite") else "checkpoint_writes"
    blobs = """
        SELECT count(*) FROM checkpoint_blobs AS b WHERE NOT EXISTS (
            SELECT 1 FROM checkpoints AS c
            WHERE (c.thread_id, c.checkpoint_ns) = (b.thread_id, b.checkpoint_ns)
                AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
        )
    """
    with look(url) as connection:
        found = connection.execute(f"""
            SELECT count(*) FROM {writes} AS w WHERE NOT EXISTS (
                SELECT 1 FROM checkpoints AS c
                WHERE (c.thread_id, c.checkpoint_ns, c.checkpoint_id) = (w.thread_id, w.checkpoint_ns, w.checkpoint_id)
            )
        """).fetchone()[0]
        return int(found) + (0 if url.startswith("sqlite") else int(connection.execute(blobs).fetchone()[0]))


async def states(graph: Any, limit: int) -> list[Any]:
    """Return what the newest checkpoints hold. Any: a compiled graph, and values of its state."""
    found = [state async for state in graph.aget_state_history(CONFIG, limit=limit)]
    return [(state.values, state.next, state.interrupts, state.config) for state in found]


@pytest.mark.parametrize("keep", [1, 2, 7])
async def test_kept_checkpoints_are_unchanged_and_the_thread_goes_on(url: str, settings: Settings, keep: int) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        graph = build(saver)
        await turns(graph, 4)
        await graph.ainvoke({}, CONFIG, durability="sync")  # now it waits inside the sub-graph
        before = await states(graph, 100)
        with look(url) as connection:
            calls = len(connection.execute("SELECT DISTINCT checkpoint_ns FROM checkpoints").fetchall())
        assert (len(before), calls) == (28, 6)

        retention = open_retention(url, saver)
        planned = await retention.trim("t", keep, dry_run=True)
        assert await states(graph, 100) == before
        gone = await retention.trim("t", keep)
        assert gone
        assert planned
        assert 28 - keep <= planned.checkpoints <= gone.checkpoints
        assert gone.checkpoints >= 28 - keep
        assert await states(graph, 100) == before[:keep]
        assert unreferenced(url) == 0
        with look(url) as connection:
            parents = connection.execute(
                "SELECT count(*) FROM checkpoints AS c WHERE parent_checkpoint_id IS NOT NULL AND NOT EXISTS ("
                "SELECT 1 FROM checkpoints AS p"
                " WHERE (p.checkpoint_ns, p.checkpoint_id) = (c.checkpoint_ns, c.parent_checkpoint_id))"
            ).fetchone()
            left = connection.execute("SELECT count(DISTINCT checkpoint_ns) FROM checkpoints").fetchone()
        assert parents == (0,)
        assert left[0] < calls or keep > 5, "calls of sub-graphs go with the checkpoint that they began from"
        assert (await retention.trim("t", keep)).total == 0  # type: ignore[union-attr] # not None: nobody is in the way

        waits = await graph.aget_state(CONFIG, subgraphs=True)
        assert waits.tasks[0].state.values == {"last": "prepared"}
        await graph.ainvoke(Command(resume="yes"), CONFIG, durability="sync")
        values = (await graph.aget_state(CONFIG)).values
        assert values["turns"] == 5
        assert values["notes"].count("branch 0") == 5


async def test_one_checkpoint_is_what_langgraph_keeps(
    database: str, settings: Settings, connection: psycopg.Connection[Any], make_database: Any
) -> None:
    """Compare row by row with langgraph-checkpoint-postgres's own pruning of the same thread."""
    async with open_checkpointer(database, settings=settings) as saver:
        graph = build(saver)
        await turns(graph, 3)
        await graph.ainvoke({}, CONFIG, durability="sync")
    connection.close()
    twin = make_database(database.rpartition("/")[2])
    async with open_checkpointer(twin, settings=settings) as saver:
        await saver.aprune(["t"], strategy="keep_latest")
    async with open_checkpointer(database, settings=settings) as saver:
        await open_retention(database, saver).trim("t", 1)
    with psycopg.connect(twin) as theirs, psycopg.connect(database) as ours:
        assert rows_of(ours) == rows_of(theirs)


async def test_run_at_work_is_not_disturbed(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver, asyncio.TaskGroup() as group:
        graph = build(saver, asks=False)
        retention = open_retention(url, saver)
        trimmed = 0
        run = group.create_task(turns(graph, 15))
        while not run.done():
            gone = await retention.trim("t", 1)
            trimmed += bool(gone and gone.total)
        assert trimmed > 10
        values = (await graph.aget_state(CONFIG)).values
        assert (values["turns"], len(values["notes"])) == (15, 15 * 4)
        await retention.trim("t", 1)
        assert unreferenced(url) == 0


async def test_delta_channel_keeps_its_history(url: str, settings: Settings) -> None:
    class Delta(TypedDict):
        items: Annotated[list[str], DeltaChannel(lambda items, updates: [*items, *(x for u in updates for x in u)])]

    graph: Any = StateGraph(Delta)  # Any: as above
    graph.add_node("one", lambda _: {"items": ["one"]})
    graph.add_edge(START, "one")
    async with open_checkpointer(url, settings=settings) as saver:
        compiled = graph.compile(checkpointer=saver)
        for _ in range(3):
            await compiled.ainvoke({"items": ["in"]}, CONFIG, durability="sync")
        before = (await compiled.aget_state(CONFIG)).values
        with pytest.raises(HistoryNeeded, match="thread t uses a DeltaChannel"):
            await open_retention(url, saver).trim("t", 1)
        assert (await compiled.aget_state(CONFIG)).values == before


async def test_checkpoint_of_an_old_version_keeps_its_parent(
    database: str, settings: Settings, connection: psycopg.Connection[Any]
) -> None:
    """Before version 4 a checkpoint's pending sends stood among the writes of its parent."""
    async with open_checkpointer(database, settings=settings) as saver:
        await turns(build(saver, asks=False), 2)
        connection.execute("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{v}', '3')")
        await open_retention(database, saver).trim("t", 1)
        assert connection.execute("SELECT count(*) FROM checkpoints WHERE checkpoint_ns = ''").fetchone() == (2,)


async def test_huge_history_is_shortened_in_linear_time(
    database: str, settings: Settings, connection: psycopg.Connection[Any]
) -> None:
    """The statements join nothing: a plan for an average thread would be quadratic on this one, and take minutes."""
    connection.execute("""
        INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint)
        SELECT 'small-' || n, '', '1', NULL, '{"v": 4, "channel_versions": {}}' FROM generate_series(1, 30000) AS n
    """)
    connection.execute("""
        INSERT INTO checkpoint_blobs
        SELECT 'small-' || n, '', 'x', '1', 'bytes', 'x'::bytea FROM generate_series(1, 30000) AS n
    """)
    connection.execute("ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes")
    connection.execute("""
        INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint)
        SELECT 't', '', lpad(n::text, 9, '0'), lpad((n - 1)::text, 9, '0'), jsonb_build_object(
            'v', 4, 'channel_versions', jsonb_build_object('x', lpad(n::text, 9, '0'), 'y', 'constant')
        ) FROM generate_series(1, 30000) AS n
    """)
    connection.execute("""
        INSERT INTO checkpoint_blobs
        SELECT 't', '', 'x', lpad(n::text, 9, '0'), 'bytes', 'x'::bytea FROM generate_series(1, 30000) AS n
        UNION ALL SELECT 't', '', 'y', 'constant', 'bytes', 'y'::bytea
    """)
    connection.execute("""
        INSERT INTO checkpoint_writes
        SELECT 't', '', lpad(n::text, 9, '0'), 'task', 0, 'x', 'bytes', 'x'::bytea FROM generate_series(1, 30000) AS n
    """)
    connection.execute(f"ALTER DATABASE {database.rpartition('/')[2]} SET statement_timeout = '30s'")
    async with open_checkpointer(database, settings=settings) as saver:
        gone = await open_retention(database, saver).trim("t", 10)
    assert gone
    assert (gone.checkpoints, gone.blobs, gone.writes) == (29_990, 29_990, 29_990)
