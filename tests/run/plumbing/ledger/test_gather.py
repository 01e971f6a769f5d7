"""Runs that begin, are claimed and end at once share statements, in one order of locks."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import LeaseLost, Ledger, Run
from acme_agent.persistence.ledger import postgres_gather
from acme_agent.runs.holder import new_holder

from .gathering import BLOCK, PATIENCE, STATEMENTS, begin, begun, holding, opened_ledger, queued, until


@pytest.fixture
def database_url(database: str) -> str:
    """These statements are PostgreSQL's."""
    return database


async def test_runs_of_one_process_share_statements(ledger: Ledger, connection: psycopg.Connection[Any]) -> None:
    """All three moves; each caller gets its own run back, with what it gave."""
    inputs = {f"thread-{number}": {"number": number, "bytes": b"\0\xff"} for number in range(60)}
    runs = await asyncio.gather(*(begin(ledger, thread, value) for thread, value in inputs.items()))
    assert connection.execute(STATEMENTS).fetchone() == (1,)
    assert [await ledger.payload(run) for run in runs if run] == list(inputs.values())
    assert [(run.thread_id, run.status, run.attempt) for run in runs if run] == [(t, "running", 1) for t in inputs]

    settled = await asyncio.gather(*(ledger.settle(run, "failed", error=run.thread_id) for run in runs if run))
    assert connection.execute(STATEMENTS).fetchone() == (1,)
    assert [(run.thread_id, run.status, run.error) for run in settled] == [(t, "failed", t) for t in inputs]

    for run in settled:
        await ledger.try_again(run.run_id, actor="tester")
    claims = [(run.run_id, new_holder()) for run in settled]
    claimed = await asyncio.gather(*(ledger.claim(*claim) for claim in claims))
    assert connection.execute(STATEMENTS).fetchone() == (1,)
    assert [(run.run_id, run.holder) for run in claimed if run] == claims
    assert [await ledger.payload(run) for run in claimed if run] == list(inputs.values())


async def test_who_comes_while_statements_are_under_way_goes_with_the_next_one(
    ledger: Ledger, database: str, connection: psycopg.Connection[Any]
) -> None:
    for number in range(3):  # alone, each leaves at once
        assert await begin(ledger, f"alone-{number}")
    assert connection.execute(STATEMENTS).fetchone() == (3,)
    held = [f"held-{number}" for number in range(postgres_gather.IN_FLIGHT)]
    with holding(database, "INSERT INTO agent_runs (run_id, thread_id, status, accepted_at, changed_at) SELECT x, x,"
                 " 'running', now(), now() FROM unnest(string_to_array(%s, ' ')) AS x", " ".join(held)):  # fmt: skip
        tasks = []
        for number, thread in enumerate(held):
            tasks.append(begin(ledger, thread))
            await until(connection, waiting=number + 1)
        tasks += [begin(ledger, f"later-{number}") for number in range(20)]
        for _ in range(10):  # time enough for a statement that does not wait
            await ledger.find("nobody")
        assert not any(task.done() for task in tasks)
    assert all(await asyncio.gather(*tasks))
    later = connection.execute(
        "SELECT count(DISTINCT xmin::text) FROM agent_runs WHERE thread_id LIKE 'later-%'"
    ).fetchone()
    assert later == (1,)


async def test_of_two_that_begin_on_a_thread_at_once_one_wins(
    ledger: Ledger, database: str, connection: psycopg.Connection[Any]
) -> None:
    """In one statement, and against another process."""
    runs = await asyncio.gather(*(begin(ledger, f"thread-{number % 5}") for number in range(10)))
    won = [run.thread_id for run in runs if run]
    assert sorted(won) == [f"thread-{number}" for number in range(5)]
    for number in range(5):
        assert len(await ledger.line(f"thread-{number}")) == 1
    with psycopg.connect(database) as theirs:
        theirs.execute(BLOCK, ("x", "taken", "running"))
        late = begin(ledger, "taken")
        await until(connection, waiting=1)
    assert await late is None


async def test_a_run_that_began_finds_itself(ledger: Ledger) -> None:
    """Its answer was lost, so it is sent again, beside others; with another holder's name it is another one's."""
    holder = new_holder()
    mine = await ledger.begin("mine", "t", None, holder=holder)
    async with asyncio.timeout(PATIENCE):
        again, others, neighbour = await asyncio.gather(
            ledger.begin("mine", "t", None, holder=holder),
            ledger.begin("mine", "t", None, holder=new_holder()),
            begin(ledger, "another thread"),
        )
    assert again == mine
    assert others is None
    assert neighbour


async def test_the_same_run_claimed_twice_at_once_has_one_holder(ledger: Ledger) -> None:
    """As by two jobs of it: its row in a statement is one caller's, and not the answer to both."""
    [run] = await queued(ledger, "t")
    holders = [new_holder(), new_holder()]
    async with asyncio.timeout(PATIENCE):
        claimed = await asyncio.gather(*(ledger.claim(run.run_id, holder) for holder in holders))
    won = [claim.holder for claim in claimed if claim]
    assert len(won) == 1
    found = await ledger.find(run.run_id)
    assert found
    assert (found.holder, found.attempt) == (won[0], 1)


async def test_only_the_first_of_a_line_is_claimed(ledger: Ledger) -> None:
    first, second, lone = await queued(ledger, "t", "t", "lone")
    claimed = await asyncio.gather(*(ledger.claim(run.run_id, new_holder()) for run in (second, first, lone)))
    assert [run and run.run_id for run in claimed] == [None, first.run_id, lone.run_id]


async def test_a_row_that_has_changed_meanwhile_is_taken_as_it_is_then(
    ledger: Ledger, database: str, connection: psycopg.Connection[Any]
) -> None:
    """A sign of life, or a run that was accepted behind it, holds a claim or an end up, and does not make it fail."""
    [ready, neighbour] = await queued(ledger, "ready", "neighbour")
    [running] = await begun(ledger, 1)
    with psycopg.connect(database) as theirs:
        theirs.execute("UPDATE agent_runs SET beat_at = now(), crashes = 7 WHERE run_id <> %s", (neighbour.run_id,))
        claims = [asyncio.create_task(ledger.claim(run.run_id, new_holder())) for run in (ready, neighbour)]
        await until(connection, waiting=1)
        ended = asyncio.create_task(ledger.settle(running, "done"))
        await until(connection, waiting=2)
    assert [(run.status, run.crashes) for run in await asyncio.gather(*claims) if run] == [
        ("running", 7),
        ("running", 0),
    ]
    assert (await ended).status == "done"


async def test_a_claim_that_conflicts_fails_alone(
    ledger: Ledger, database: str, connection: psycopg.Connection[Any]
) -> None:
    """A run was begun on its thread in the same instant; it makes the claimed one ready when it ends."""
    runs = await queued(ledger, *(f"thread-{number}" for number in range(8)))
    with psycopg.connect(database) as theirs:
        theirs.execute(BLOCK, ("begun", "thread-3", "running"))
        claims = [asyncio.create_task(ledger.claim(run.run_id, new_holder())) for run in runs]
        await until(connection, waiting=1)
    claimed = await asyncio.gather(*claims)
    assert [run.thread_id for run in runs if run.run_id not in {c.run_id for c in claimed if c}] == ["thread-3"]
    assert connection.execute("SELECT followed FROM agent_runs WHERE run_id = 'begun'").fetchone() == (1,)


async def test_a_run_ends_alone_only_while_it_is_the_attempts_and_nobody_follows(ledger: Ledger) -> None:
    plain, followed, taken, cancelled = await begun(ledger, 4)
    await ledger.accept("next", followed.thread_id, None, mode="enqueue")
    await ledger.take_over(taken, new_holder(), crash_limit=3)
    await ledger.cancel(cancelled.run_id, actor="tester")
    made_ready = []

    async def also(_: object, run: Run) -> None:
        made_ready.append(run.run_id)

    ledger = Ledger(ledger.store, also)
    settled = await asyncio.gather(
        *(ledger.settle(run, "done") for run in (plain, followed, taken, cancelled)), return_exceptions=True
    )
    assert [run.status for run in settled[:2] if isinstance(run, Run)] == ["done", "done"]
    assert [type(error) for error in settled[2:]] == [LeaseLost, LeaseLost]
    assert made_ready == ["next"]


async def test_two_processes_do_not_block_each_other(
    ledger: Ledger, agent_settings: AgentSettings, connection: psycopg.Connection[Any]
) -> None:
    """In whatever order they name the same rows. PostgreSQL counts its deadlocks, which the pool would hide."""
    async with opened_ledger(agent_settings) as second:
        for number in range(8):
            threads = [f"{number}-{thread}" for thread in range(40)]
            both = [begin(who, thread) for who in (ledger, second) for thread in sorted(threads, key=hash_of(who))]
            runs = [run for run in await asyncio.gather(*both) if run]
            assert len(runs) == 40
            settles = [who.settle(run, "done") for who in (ledger, second) for run in sorted(runs, key=run_hash(who))]
            beats = [who.beat(runs) for who in (ledger, second) for _ in range(3)]
            await asyncio.gather(*settles, *beats)
            lines = await queued(ledger, *threads)
            claims = [
                who.claim(run.run_id, new_holder())
                for who in (ledger, second)
                for run in sorted(lines, key=run_hash(who))
            ]
            assert sum(run is not None for run in await asyncio.gather(*claims)) == 40
    connection.execute("SELECT pg_stat_force_next_flush()")
    assert connection.execute(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone() == (0,)


def hash_of(who: object) -> Callable[[str], int]:
    return lambda thread: hash((id(who), thread))


def run_hash(who: object) -> Callable[[Run], int]:
    return lambda run: hash((id(who), run.run_id))
