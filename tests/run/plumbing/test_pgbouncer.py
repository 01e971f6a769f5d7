"""A pooler that lends its connections out changes nothing that is stored, and cannot be taken for a server."""

import asyncio
import operator
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from acme_agent.persistence import DirectUrlMissing, DirectUrlPooled, migrate, open_checkpointer
from acme_agent.readiness.servers import pgbouncer as pgbouncer_module
from acme_agent.readiness.servers.pgbouncer import POOL_SIZE, PgBouncerMissing, find_pgbouncer, pgbouncer
from acme_agent.readiness.servers.pgbouncer_pooler import require_pgbouncer
from acme_agent.settings import Settings
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

PASSWORD = "s3cr3t-Pa55w0rd"
PROCESSES = 4  # savers, each with a pool of its own, as replicas have
THREADS = 16
STEPS = 4
GONE_WITHIN = 15.0  # seconds

OUR_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Count(TypedDict):
    steps: Annotated[list[int], operator.add]


def counting() -> StateGraph[Count]:
    async def step(state: Count) -> Count:
        return {"steps": [len(state["steps"])]}

    graph = StateGraph(Count)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if len(state["steps"]) % STEPS == 0 else "step")
    return graph


@pytest.fixture
def pooled(pgbouncer_url: str) -> str:
    """Return the URL through PgBouncer, with a password: it lets everybody in."""
    return pgbouncer_url.replace("//postgres@", f"//postgres:{PASSWORD}@")


@pytest.fixture
def both(settings: Settings, postgres_url: str) -> Settings:
    return settings.model_copy(update={"database_direct_url": SecretStr(postgres_url)})


async def test_nothing_is_prepared(pooled: str, both: Settings) -> None:
    """A prepared statement belongs to a server connection, and the next client of it is another one."""
    single = both.model_copy(update={"database_pool_max": 1})
    async with open_checkpointer(pooled, settings=single) as saver:
        for _ in range(10):
            await saver.aget_tuple({"configurable": {"thread_id": "t"}})
        async with saver.conn.connection() as connection:  # type: ignore[attr-defined] # the saver's pool
            row = await (await connection.execute("SELECT count(*) AS n FROM pg_prepared_statements")).fetchone()
            assert row["n"] == 0
            assert connection.prepare_threshold is None


async def test_many_runs_share_few_server_connections(pooled: str, both: Settings, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        async with AsyncExitStack() as savers:
            graphs = [
                counting().compile(
                    checkpointer=await savers.enter_async_context(open_checkpointer(pooled, settings=both))
                )
                for _ in range(PROCESSES)
            ]

            async def turns(number: int) -> list[int]:
                config: Any = {"configurable": {"thread_id": f"thread-{number}"}}
                for turn in range(3):  # each on another process's connections
                    graph = graphs[(number + turn) % PROCESSES]
                    await graph.ainvoke({"steps": []}, config, durability="sync")
                state = await graphs[number % PROCESSES].aget_state(config)
                steps: list[int] = state.values["steps"]
                return steps

            ended = await asyncio.gather(*(turns(number) for number in range(THREADS)))
            used = server.execute(OUR_SESSIONS).fetchone()
        assert ended == [list(range(3 * STEPS))] * THREADS
        assert used
        assert 1 <= used[0] <= POOL_SIZE


async def test_a_start_without_a_direct_url_is_refused(pooled: str, settings: Settings) -> None:
    for _ in range(3 * POOL_SIZE):
        with pytest.raises(DirectUrlMissing, match="DATABASE_DIRECT_URL") as caught:
            async with open_checkpointer(pooled, settings=settings):
                pass
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_a_direct_url_needs_no_second_one(postgres_url: str, settings: Settings) -> None:
    async with open_checkpointer(postgres_url, settings=settings):
        pass


async def test_a_migration_through_a_pooler_is_refused_before_it_does_harm(
    pooled: str, both: Settings, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("DROP SCHEMA public CASCADE")
        server.execute("CREATE SCHEMA public")
        with pytest.raises(DirectUrlPooled, match=r"DATABASE_DIRECT_URL.*acme-agent migrate") as caught:
            await migrate(pooled, settings=both)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
        assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert server.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    given = Settings(_env_file=None, database_url=SecretStr(pooled), database_direct_url=both.database_direct_url)
    assert await migrate(given.migration_url, settings=given) != []
    async with open_checkpointer(given.checkpoint_url, settings=given):
        pass


def test_production_refuses_a_direct_url_to_this_machine() -> None:
    url = SecretStr(f"postgresql://u:{PASSWORD}@db.example/name")
    local = SecretStr(f"postgresql://u:{PASSWORD}@127.0.0.1/name")
    given = Settings(_env_file=None, environment="production", database_url=url, database_direct_url=url)
    assert given.migration_url == url.get_secret_value()
    with pytest.raises(ValueError, match=r"refuses a database on localhost: set DATABASE_DIRECT_URL") as caught:
        Settings(_env_file=None, environment="production", database_url=url, database_direct_url=local)
    assert PASSWORD not in str(caught.value)


async def test_the_pooler_is_known_on_every_connection(pooled: str, postgres_url: str) -> None:
    for url, expected in ((pooled, True), (postgres_url, False)):
        async for connection in connections(url, 60):
            row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            assert row
            assert (connection.pgconn.backend_pid != row[0]) is expected


async def connections(url: str, number: int) -> AsyncIterator[psycopg.AsyncConnection]:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(await psycopg.AsyncConnection.connect(url, autocommit=True))
            for _ in range(number)
        ]
        for connection in opened:
            yield connection


# --- The PgBouncer of the tests --------------------------------------------------------------------------------------


def test_it_ends_when_the_test_process_is_killed(admin_url: str, pooler_url: str) -> None:
    script = """
import os, sys
from acme_agent.readiness.servers import pgbouncer, lifeline
rooms = []
pgbouncer.new_room = lambda prefix: rooms.append(lifeline.new_room(prefix)) or rooms[-1]
with pgbouncer.pgbouncer(sys.argv[1]) as url:
    print(url, rooms[-1], flush=True)
    input()
"""
    command = [sys.executable, "-c", script, admin_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url, room = process.stdout.readline().split()
        psycopg.connect(url).close()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN
    while Path(room).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


def test_one_that_does_not_start_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, admin_url: str, pooler_url: str
) -> None:
    taken = int(pooler_url.rpartition(":")[2].partition("/")[0])
    monkeypatch.setattr(pgbouncer_module, "free_port", lambda: taken)
    with pytest.raises(PgBouncerMissing, match=r"(?i)address already in use"), pgbouncer(admin_url):
        pass


def test_none_is_skipped_loudly_and_in_ci_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(pgbouncer_module, "_OFF_THE_PATH", os.devnull)
    with pytest.raises(PgBouncerMissing, match="apt install pgbouncer"):
        find_pgbouncer()
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"NOTHING is tested.*apt install pgbouncer"):
        require_pgbouncer()
    monkeypatch.setenv("CI", "true")
    with pytest.raises((PgBouncerMissing, pytest.skip.Exception)) as caught:  # a skip would skip this test
        require_pgbouncer()
    assert caught.type is PgBouncerMissing
