"""Ours and LangGraph's own saver on the same tables: whatever is stored in whatever order, every read is the same."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4
from zlib import crc32

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.settings import Settings
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg_pool import AsyncConnectionPool

NAMESPACES = ("", "search:1")
CHANNELS = ("text", "number", "items", "messages")
TASKS = ("task-a", "task-b")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    # What upstream changes or fails on is in test_exact.py: numbers that JSONB has in another form, NUL, surrogates.
    st.floats(-1e9, 1e9).map(lambda number: round(number, 3) + 0.0),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.just("x" * 1500),
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text("abc", max_size=2), scalars, max_size=2)


@dataclass(frozen=True)
class Put:
    """A checkpoint, number `id` of the thread; storing the same number again overwrites it."""

    thread: int
    namespace: str
    id: int
    parent: int | None
    values: dict[str, Any]
    changed: frozenset[str]
    step: int


@dataclass(frozen=True)
class Write:
    """A task's writes to checkpoint number `id`."""

    thread: int
    namespace: str
    id: int
    task: str
    path: str
    writes: list[tuple[str, Any]]


@dataclass(frozen=True)
class Delete:
    """A whole thread goes."""

    thread: int


threads = st.integers(0, 1)
ids = st.integers(0, 4)
puts = st.builds(
    Put,
    threads,
    st.sampled_from(NAMESPACES),
    ids,
    st.none() | ids,
    st.dictionaries(st.sampled_from(CHANNELS), values),
    st.frozensets(st.sampled_from(CHANNELS)),
    st.integers(-1, 3),
)
channels = st.sampled_from([*CHANNELS, "__interrupt__", "__resume__", "__error__"])
writes = st.builds(
    Write,
    threads,
    st.sampled_from(NAMESPACES),
    ids,
    st.sampled_from(TASKS),
    st.sampled_from(["", "~__pregel_pull, a"]),
    st.lists(st.tuples(channels, values), max_size=3),
)
calls = st.lists(puts | writes, min_size=1, max_size=6)
histories = st.lists(calls | st.builds(Delete, threads), min_size=1, max_size=5)


def place(prefix: str, step: Put | Write) -> dict[str, Any]:
    return {"thread_id": f"{prefix}{step.thread}", "checkpoint_ns": step.namespace}


async def apply(saver: BaseCheckpointSaver[str], prefix: str, step: Put | Write) -> None:
    ids = place(prefix, step)
    if isinstance(step, Write):
        config: Any = {"configurable": {**ids, "checkpoint_id": name(step.id)}}
        await saver.aput_writes(config, step.writes, step.task, step.path)
        return
    config = {"configurable": ids if step.parent is None else {**ids, "checkpoint_id": name(step.parent)}}
    # A version of a channel stands for one value.
    versions: Any = {channel: f"{step.id}.{crc32(repr(step.values.get(channel)).encode())}" for channel in CHANNELS}
    checkpoint: Any = {
        "v": 4,
        "id": name(step.id),
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": step.values,
        "channel_versions": versions,
        "versions_seen": {"node": versions},
        "updated_channels": sorted(step.changed),
    }
    metadata: Any = {"source": "loop", "step": step.step, "parents": {}}
    await saver.aput(config, checkpoint, metadata, {channel: versions[channel] for channel in step.changed})


def name(number: int) -> str:
    return f"1f0c6b4e-0000-6000-8000-{number:012d}"


async def everything(saver: BaseCheckpointSaver[str], prefix: str) -> dict[str, Any]:
    """Return what the saver's reads return."""
    found: dict[str, Any] = {}
    for thread in ("0", "1"):
        config: Any = {"configurable": {"thread_id": f"{prefix}{thread}"}}
        for namespace in NAMESPACES:
            ids = {**config["configurable"], "checkpoint_ns": namespace}
            found[f"{thread}, {namespace}, head"] = await saver.aget_tuple({"configurable": ids})
            one: Any = {"configurable": {**ids, "checkpoint_id": name(2)}}
            found[f"{thread}, {namespace}, one"] = await saver.aget_tuple(one)
            before: Any = {"configurable": {**ids, "checkpoint_id": name(3)}}
            listings: dict[str, dict[str, Any]] = {"all": {}, "two": {"limit": 2}, "step 1": {"filter": {"step": 1}}}
            listings["older"] = {"before": before, "limit": 3}
            for what, options in listings.items():
                page = [item async for item in saver.alist({"configurable": ids}, **options)]
                found[f"{thread}, {namespace}, {what}"] = page
        whole = [item async for item in saver.alist(config)]
        found[f"{thread}, whole"] = sorted(whole, key=lambda item: repr(item.config))
    return {key: without(prefix, value) for key, value in found.items()}


def without(prefix: str, value: Any) -> Any:
    """Return the value as plain data in which the threads of ours and of upstream have the same names."""
    if isinstance(value, CheckpointTuple):
        return without(prefix, value._asdict())
    if isinstance(value, dict):
        return {key: without(prefix, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without(prefix, item) for item in value]
    return value.removeprefix(prefix) if isinstance(value, str) else value


@pytest.fixture
def compare(database: str, settings: Settings) -> Iterator[Callable[[list[Any]], None]]:
    """Store a history through ours, in groups that begin together, and through upstream's, one after the other."""
    with asyncio.Runner() as runner:
        stack = runner.run(_enter(database, settings))
        ours, upstream = stack.savers

        async def both(history: list[Any]) -> None:
            mine, theirs = f"ours-{uuid4().hex}-", f"upstream-{uuid4().hex}-"
            for group in history:
                if isinstance(group, Delete):
                    await ours.adelete_thread(f"{mine}{group.thread}")
                    await upstream.adelete_thread(f"{theirs}{group.thread}")
                    continue
                await asyncio.gather(*(apply(ours, mine, step) for step in group))
                for step in group:
                    await apply(upstream, theirs, step)
            expected = await everything(upstream, theirs)
            assert await everything(ours, mine) == expected, "written by ours, read by ours"
            assert await everything(upstream, mine) == expected, "written by ours, read by upstream"
            assert await everything(ours, theirs) == expected, "written by upstream, read by ours"

        yield lambda history: runner.run(both(history))
        runner.run(stack.aclose())


class _Savers(AsyncExitStack):
    savers: tuple[BaseCheckpointSaver[str], AsyncPostgresSaver]


async def _enter(database: str, settings: Settings) -> _Savers:
    stack = _Savers()
    ours = await stack.enter_async_context(open_checkpointer(database, settings=settings))
    pool: Any = AsyncConnectionPool(database, kwargs={"autocommit": True, "prepare_threshold": 0}, open=False)
    await stack.enter_async_context(pool)
    stack.savers = ours, AsyncPostgresSaver(pool, serde=JsonPlusSerializer(allowed_msgpack_modules=()))
    return stack


@examples(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_every_read_is_upstreams(compare: Callable[[list[Any]], None], history: list[Any]) -> None:
    """A function-scoped fixture is right here: the examples share the database and use threads of their own."""
    compare(history)
