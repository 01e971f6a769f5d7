"""Tasks end for certain, also those that miss a cancellation."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import anyio
import psycopg
import pytest
from acme_agent.agent import AgentSettings
from acme_agent.cancelling import end
from acme_agent.persistence.ledger.postgres_notices import Notices
from acme_agent.persistence.valkey_cancelling import heeding
from pydantic import SecretStr


async def test_a_task_that_misses_a_cancellation_is_cancelled_again() -> None:
    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task, other = asyncio.create_task(deaf()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(task, other, again=0.05)
    assert task.cancelled()
    assert other.cancelled()


async def test_a_task_that_is_over_and_one_that_fails_are_ended_too() -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it ends")

    task, over = asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0))
    await over
    await end(task, over)
    assert isinstance(task.exception(), ValueError)


async def forgetful() -> None:
    """Go on though it is cancelled."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def test_a_forgotten_cancellation_is_heeded_also_under_anyio() -> None:
    with anyio.move_on_after(0.05) as scope:
        await heeding(forgetful())
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await heeding(forgetful())
    task = asyncio.create_task(heeding(forgetful()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("turns", range(6))
async def test_the_notices_end_when_one_comes_at_that_moment(make_database: Callable[..., str], turns: int) -> None:
    """Before Python 3.12 psycopg misses a cancellation one or two turns of the event loop after an answer came."""
    url = make_database()
    settings = AgentSettings(_env_file=None, database_url=SecretStr(url))
    notices = Notices(url, settings)
    with psycopg.connect(url, autocommit=True) as connection:
        await notices.wait(0, 10)  # it listens
        assert notices.ticks == 1
        await asyncio.sleep(0.05)
        connection.execute("SELECT pg_notify('agent_runs', '')")
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.create_task(notices.close())
        done, _ = await asyncio.wait([closing], timeout=5)
        closing.cancel()
        assert done, "it goes on for ever"
