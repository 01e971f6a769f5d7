"""None of those who share a statement pays for another one's fault, and nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import DatabaseUnreachable, Ledger, Run
from acme_agent.persistence.errors import CheckpointerClosed
from acme_agent.persistence.ledger import postgres_gather
from acme_agent.readiness.servers.postgres_server import drop_database
from acme_agent.runs import Runs
from acme_agent.runs.holder import is_dead
from psycopg.conninfo import conninfo_to_dict

from .conftest import Steps
from .gathering import BLOCK, PATIENCE, begin, begun, holding, opened_ledger, until


@pytest.fixture
def database_url(database: str) -> str:
    """These statements are PostgreSQL's."""
    return database


async def test_a_refused_row_is_its_callers_alone(ledger: Ledger) -> None:
    runs = await begun(ledger, 9)
    becomes: list[Any] = ["done"] * 4 + ["no status"] + ["done"] * 4  # Any: not a Status
    settled = await asyncio.gather(
        *(ledger.settle(run, status) for run, status in zip(runs, becomes, strict=True)), return_exceptions=True
    )
    assert isinstance(settled.pop(4), psycopg.errors.CheckViolation)
    assert [run.status for run in settled if isinstance(run, Run)] == ["done"] * 8


async def test_an_error_that_no_text_can_hold_ends_the_run(ledger: Ledger) -> None:
    [run] = await begun(ledger, 1)
    assert (await ledger.settle(run, "failed", error="a \0 and a \ud800")).error == "a ? and a ?"


async def test_a_caller_that_is_cancelled_leaves_the_others_alone(
    opened: Callable[..., Awaitable[Runs]], database: str, connection: psycopg.Connection[Any]
) -> None:
    """One that has not been sent takes its run along; one that has may have a run, and nobody behind it."""
    runs = await opened(**Steps().nodes("a"))
    with holding(database, BLOCK, "x", "thread-1", "running"):
        tasks = [asyncio.create_task(runs.start({"log": []}, thread=f"thread-{n}")) for n in range(3)]
        await until(connection, waiting=1)
        more = [
            asyncio.create_task(runs.start({"log": []}, thread="thread-1"))
            for _ in range(postgres_gather.IN_FLIGHT - 1)
        ]
        await until(connection, waiting=postgres_gather.IN_FLIGHT)
        waiting = [asyncio.create_task(runs.start({"log": []}, thread=f"waiting-{n}")) for n in range(3)]
        await asyncio.sleep(0)
        for task in (tasks[0], waiting[0]):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    ended = await asyncio.gather(*tasks[1:], *waiting[1:], *more)
    assert {status.condition for status in ended} == {"done"}
    assert await runs.ledger.newest("waiting-0") == []
    [abandoned] = await runs.ledger.newest("thread-0")
    assert abandoned.status == "running"
    assert is_dead(abandoned.holder)
    assert (await runs.resume("thread-0")).values == {"log": ["a"]}


async def test_an_outage_fails_all_who_wait(agent_settings: AgentSettings, admin_url: str) -> None:
    async with opened_ledger(agent_settings, database_patience=0.5) as ledger:
        runs = await begun(ledger, 5)
        drop_database(admin_url, str(conninfo_to_dict(agent_settings.checkpoint_url)["dbname"]))
        waiting = [ledger.settle(run, "done") for run in runs] + [begin(ledger, f"new-{number}") for number in range(5)]
        async with asyncio.timeout(PATIENCE):
            ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in ended} == {DatabaseUnreachable}


async def test_closing_waits_for_what_is_under_way_and_takes_no_more(
    agent_settings: AgentSettings, database: str, connection: psycopg.Connection[Any]
) -> None:
    async with opened_ledger(agent_settings) as ledger:
        with psycopg.connect(database) as theirs:
            theirs.execute(BLOCK, ("x", "held", "running"))
            held = begin(ledger, "held")
            await until(connection, waiting=1)
            free = begin(ledger, "free")
            await asyncio.sleep(0)  # it is in the queue
            theirs.rollback()
    assert await held
    assert await free
    with pytest.raises(CheckpointerClosed):
        await begin(ledger, "late")


async def test_nobody_waits_for_a_sender_that_was_cancelled(
    ledger: Ledger, database: str, connection: psycopg.Connection[Any]
) -> None:
    """As an event loop cancels all of its tasks in the end."""
    with holding(database, BLOCK, "x", "held", "running"):
        under_way = begin(ledger, "held")
        await until(connection, waiting=1)
        for task in asyncio.all_tasks():
            if task.get_name() == "ledger-sender":
                task.cancel()
        with pytest.raises(CheckpointerClosed):
            await asyncio.wait_for(under_way, PATIENCE)
    assert await begin(ledger, "next")
