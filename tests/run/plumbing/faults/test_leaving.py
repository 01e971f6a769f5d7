"""Whoever leaves a checkpointer stores what is queued, or tells everybody who waits that it was not stored."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from acme_agent.persistence import DatabaseUnreachable, postgres_commit
from acme_agent.persistence.postgres_saver import PostgresSaver
from langgraph.checkpoint.base import empty_checkpoint

from .conftest import opened

if TYPE_CHECKING:
    from plumbing.faults.conftest import OwnServer

pytestmark = pytest.mark.anyio

PATIENCE = 1.0  # seconds, of a run that is to give up
POOL_CLOSES = 5.0  # seconds that the pool grants its attempts to connect
SLACK = 1.0  # seconds, for a slow machine


async def put(saver: PostgresSaver, thread: str) -> None:
    await saver.aput({"configurable": {"thread_id": thread, "checkpoint_ns": ""}}, empty_checkpoint(), {}, {})


async def test_leaving_stores_what_is_queued(own_database: str) -> None:
    async with opened(own_database, checkpoint_batches=1) as saver:
        queued = [asyncio.create_task(put(saver, f"t{number}")) for number in range(50)]
        await asyncio.sleep(0)  # each runs until it waits
        assert saver.waiting == 50
    assert all(task.done() for task in queued)
    async with opened(own_database) as saver:
        assert len(await saver.alist_threads(100)) == 50


async def test_leaving_while_the_server_is_away_ends_and_tells_everybody(
    own_server: "OwnServer", own_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls under way, those in the queue, and those that wait for a place in it."""
    monkeypatch.setattr(postgres_commit, "QUEUE_SIZE", 5_000)  # bytes: about ten of the fifty calls
    async with AsyncExitStack() as repair:
        async with opened(own_database, database_patience=PATIENCE, checkpoint_batches=1) as saver:
            await put(saver, "first")
            repair.enter_context(own_server.frozen())
            began = time.monotonic()
            calls = [asyncio.create_task(put(saver, f"t{number}")) for number in range(50)]
            await asyncio.sleep(0)  # each runs until it waits
            assert 5 < saver.waiting < 45
        assert time.monotonic() - began < 2 * PATIENCE + POOL_CLOSES + SLACK
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SLACK)
    queued, outside = results[:5], results[-5:]
    assert {type(result) for result in queued} == {DatabaseUnreachable}
    assert {str(result) for result in outside} == {"the checkpointer is closed: nothing can be stored any more"}


async def test_leaving_that_is_cancelled_tells_everybody_too(own_database: str) -> None:
    """A second Ctrl-C, or a supervisor that has waited long enough, while a lock keeps the first batch waiting."""
    calls: list[asyncio.Task[None]] = []
    leaving = asyncio.Event()

    async def own() -> None:
        async with opened(own_database, checkpoint_batches=1) as saver:
            calls.extend(asyncio.create_task(put(saver, f"t{number}")) for number in range(50))
            await asyncio.sleep(0)  # each runs until it waits
            leaving.set()

    async with await psycopg.AsyncConnection.connect(own_database) as blocker:
        await blocker.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
        owner = asyncio.create_task(own())
        await leaving.wait()
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SLACK)
    assert {str(result) for result in results} == {"the checkpointer is closed: nothing can be stored any more"}
