"""A connection that ends in the middle of a statement, or while nobody uses it, costs a retry and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.postgres_saver import PostgresSaver
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint

if TYPE_CHECKING:
    from plumbing.faults.conftest import Chain

pytestmark = pytest.mark.anyio

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""
ROWS = """
SELECT
    (SELECT count(*) FROM checkpoints WHERE thread_id = 't') AS checkpoints,
    (SELECT count(*) FROM checkpoint_blobs WHERE thread_id = 't') AS blobs,
    (SELECT count(*) FROM checkpoint_writes WHERE thread_id = 't') AS writes
"""
KILL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
HEAD = {**empty_checkpoint(), "channel_values": {"a": ["value"]}, "channel_versions": {"a": "1"}}
AT_HEAD: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": HEAD["id"]}}
ONE_OF_EACH = (1, 1, 2)
NEXT = {**HEAD, "id": "ffffffff-ffff-6fff-ffff-ffffffffffff", "channel_versions": {"a": "2"}}


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[PostgresSaver]:
    async with open_checkpointer(url, settings=Settings(_env_file=None, **settings)) as saver:
        assert isinstance(saver, PostgresSaver)
        yield saver


async def put(saver: PostgresSaver) -> Any:
    return await saver.aput(AT_HEAD, NEXT, {}, {"a": "2"})  # type: ignore[arg-type] # a dict with a checkpoint's keys


async def put_writes(saver: PostgresSaver) -> None:
    await saver.aput_writes(AT_HEAD, [("a", 1), ("b", 2)], "another-task")


async def read_head(saver: PostgresSaver) -> None:
    found = await saver.aget_tuple(CONFIG)
    assert found
    assert found.checkpoint["id"] == HEAD["id"]
    assert len(found.pending_writes or ()) == 2


async def read_list(saver: PostgresSaver) -> None:
    assert [found.checkpoint["id"] async for found in saver.alist(CONFIG)] == [HEAD["id"]]


async def read_threads(saver: PostgresSaver) -> None:
    assert await saver.alist_threads(10) == ["t"]


async def read_delta(saver: PostgresSaver) -> None:
    assert "a" in await saver.aget_delta_channel_history(config=AT_HEAD, channels=["a"])


async def delete(saver: PostgresSaver) -> None:
    await saver.adelete_thread("t")


async def prune(saver: PostgresSaver) -> None:
    await saver.aprune(["t"], strategy="keep_latest")


async def prune_all(saver: PostgresSaver) -> None:
    await saver.aprune(["t"], strategy="delete")


@pytest.mark.parametrize(
    ("call", "locked", "rows"),
    [
        (put, "checkpoints", (2, 2, 2)),
        (put_writes, "checkpoint_writes", (1, 1, 4)),
        (read_head, "checkpoints", ONE_OF_EACH),
        (read_list, "checkpoint_blobs", ONE_OF_EACH),
        (read_threads, "checkpoints", ONE_OF_EACH),
        (read_delta, "checkpoints", ONE_OF_EACH),
        (delete, "checkpoint_writes", (0, 0, 0)),  # the last of its statements
        (prune, "checkpoint_writes", ONE_OF_EACH),
        (prune_all, "checkpoint_writes", (0, 0, 0)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_statement_whose_connection_is_killed_is_sent_again(
    call: Callable[[PostgresSaver], Awaitable[Any]], locked: str, rows: tuple[int, int, int], own_database: str
) -> None:
    """A lock keeps the statement waiting, so that it is surely under way when it loses its connection."""
    async with (
        opened(own_database) as saver,
        await psycopg.AsyncConnection.connect(own_database) as blocker,
        await psycopg.AsyncConnection.connect(own_database, autocommit=True) as admin,
    ):
        await saver.aput(CONFIG, HEAD, {}, {"a": "1"})  # type: ignore[arg-type] # a dict with a checkpoint's keys
        await saver.aput_writes(AT_HEAD, [("a", 1), ("b", 2)], "task")
        await blocker.execute(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(call(saver))  # type: ignore[arg-type,var-annotated] # all of them are coroutines
        while not (waiting := await (await admin.execute(WAITING)).fetchall()):
            await asyncio.sleep(0.005)
            assert not task.done(), "the call did not wait for the lock: the test is wrong"
        for (pid,) in waiting:
            await admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        while saver.figures.retries == 0:
            await asyncio.sleep(0.005)
            assert not task.done(), task
        await blocker.rollback()
        await task
        assert await (await admin.execute(ROWS)).fetchone() == rows


async def test_ten_idle_connections_that_are_dead_cost_one_retry(own_database: str) -> None:
    async with opened(own_database, database_pool_min=10, database_pool_max=10) as saver:
        await saver._pool.pool.wait()
        with psycopg.connect(own_database, autocommit=True) as admin:
            killed = admin.execute(KILL_OTHERS).fetchall()
        assert len(killed) == 10
        await put(saver)
        assert saver.figures.retries == 1
        await asyncio.gather(*(read_next(saver) for _ in range(20)))
        assert saver.figures.retries == 1


async def read_next(saver: PostgresSaver) -> None:
    found = await saver.aget_tuple(CONFIG)
    assert found
    assert found.checkpoint["id"] == NEXT["id"]


async def test_the_same_rows_from_two_sides_in_opposite_order_do_not_deadlock(own_database: str) -> None:
    """Two processes with the same keys: sorted rows meet in the same order, so one waits for the other."""
    threads = [f"t{number}" for number in range(60)]
    async with opened(own_database) as one, opened(own_database) as other:
        for _ in range(20):
            head = empty_checkpoint()

            async def store(saver: PostgresSaver, thread: str, head: Any = head) -> None:
                config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
                await saver.aput(config, head, {}, {})

            await asyncio.gather(
                *(store(one, thread) for thread in threads), *(store(other, thread) for thread in reversed(threads))
            )
        assert (one.figures.retries, other.figures.retries) == (0, 0)
        assert one.figures.batches < 20 * 20, "the rows went out one by one: the test is wrong"


async def test_the_saver_can_be_used_while_it_lists(own_database: str, make_chain: "Callable[..., Chain]") -> None:
    """With one connection in the pool, and with a listing that is left in the middle."""
    async with opened(own_database, database_pool_max=1, database_patience=2) as saver:
        await make_chain(saver).run("t", {"steps": []})
        listed = [found.config async for found in saver.alist(CONFIG)]
        assert len(listed) == 10
        seen = []
        async for found in saver.alist(CONFIG):
            assert await saver.aget_tuple(found.config)
            await saver.aput_writes(found.config, [("steps", ["more"])], "another-task")
            seen.append(found.config)
        assert seen == listed
        async for _ in saver.alist(CONFIG):
            break
        pool = saver._pool.pool.get_stats()
        assert (pool["pool_available"], pool["pool_size"], pool.get("requests_waiting", 0)) == (1, 1, 0)
