"""What the tests of gathered statements share: runs at once, and somebody else who is in their way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from acme_agent.agent import AgentSettings
from acme_agent.persistence import Ledger, Run, open_checkpointer
from acme_agent.persistence.ledger.opening import open_ledger
from acme_agent.runs.holder import new_holder

PATIENCE = 10.0  # seconds that a test waits for an event
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
STATEMENTS = "SELECT count(DISTINCT xmin::text) FROM agent_runs"  # each left its number in the rows that it wrote
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
BLOCK = "INSERT INTO agent_runs (run_id, thread_id, status, accepted_at, changed_at) VALUES (%s, %s, %s, now(), now())"


@asynccontextmanager
async def opened_ledger(settings: AgentSettings, **changes: Any) -> AsyncIterator[Ledger]:
    changed = settings.model_copy(update=changes)
    async with open_checkpointer(changed.checkpoint_url, settings=changed) as saver:
        yield open_ledger(saver)


@contextmanager
def holding(url: str, statement: LiteralString, *parameters: str) -> Iterator[None]:
    """Hold rows back: another transaction has changed them, and undoes that in the end."""
    with psycopg.connect(url) as theirs:
        theirs.execute(statement, parameters)
        yield
        theirs.rollback()


async def until(connection: psycopg.Connection[Any], waiting: int) -> None:
    """Return when that many statements wait for a lock in the database."""
    async with asyncio.timeout(PATIENCE):
        while connection.execute(WAITING).fetchone() != (waiting,):  # noqa: ASYNC110 - an event of the server
            await asyncio.sleep(0.01)


def begin(ledger: Ledger, thread: str, payload: object = None, holder: str = "") -> asyncio.Task[Run | None]:
    holder = holder or new_holder()
    return asyncio.create_task(ledger.begin(str(uuid4()), thread, payload, holder=holder))


async def begun(ledger: Ledger, count: int) -> list[Run]:
    runs = await asyncio.gather(*(begin(ledger, f"thread-{number}") for number in range(count)))
    assert all(runs)
    return [run for run in runs if run]


async def queued(ledger: Ledger, *threads: str) -> list[Run]:
    accepted = [await ledger.accept(str(uuid4()), thread, None, mode="enqueue") for thread in threads]
    return [run for run, _ in accepted if run]
