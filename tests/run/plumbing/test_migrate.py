"""Any number of replicas may start a release at once, and any may be killed: the tables are right, and nobody hangs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import (
    MigrationBlocked,
    MigrationBusy,
    migrate,
    open_checkpointer,
    postgres_migrate,
)
from acme_agent.persistence.postgres_migrate import MIGRATION_LOCK
from acme_agent.persistence.postgres_schema import KNOWN_SCHEMA
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

STEPS = [f"version {number}: " for number in range(KNOWN_SCHEMA + 1)]
ROUNDS = 20
SIDE_BY_SIDE = 5  # databases
PATIENCE = 20.0  # seconds

INVALID_INDEXES = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'checkpoint%thread_id_idx'"
VERSIONS = "SELECT array_agg(v ORDER BY v) FROM checkpoint_migrations"

MIGRATOR_WAITS = """
SELECT pid, query
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'acme-agent' AND wait_event_type = 'Lock'
    AND query LIKE '%INDEX CONCURRENTLY%'  -- the text is read before the wait, and may be that of the statement before
"""


def assert_right(url: str) -> None:
    with psycopg.connect(url) as connection:
        assert connection.execute(INVALID_INDEXES).fetchall() == []
        assert connection.execute(INDEXES).fetchone() == (3,)
        assert connection.execute(VERSIONS).fetchone() == (list(range(KNOWN_SCHEMA + 1)),)


async def assert_usable(url: str, settings: Settings) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    async with open_checkpointer(url, settings=settings) as saver:
        stored = await saver.aput(config, empty_checkpoint(), {}, {})
        await saver.aput_writes(stored, [("channel", "value")], "task", "path")
        found = await saver.aget_tuple(config)
        assert found
        assert found.pending_writes == [("task", "channel", "value")]


def assert_all_steps(done: list[str]) -> None:
    checkpoints = [line for line in done if line.startswith("version ")]
    assert all(line.startswith(step) for line, step in zip(checkpoints, STEPS, strict=True))
    assert any(line.startswith("ledger version 1: ") for line in done)
    assert done[-1] == "queue: procrastinate's tables"


def test_eight_processes_migrate_an_empty_database_at_once(
    crew: Callable[..., list[Any]], make_database: Callable[..., str]
) -> None:
    for _ in range(0, ROUNDS, SIDE_BY_SIDE):
        urls = [make_database() for _ in range(SIDE_BY_SIDE)]
        by_process = crew("migrate", urls)
        assert all(isinstance(result, list) for result in by_process), by_process
        for url, *by_url in zip(urls, *by_process, strict=True):
            *idle, busy = sorted(by_url, key=len)
            assert idle == [[]] * 7
            assert_all_steps(busy)
            assert_right(url)


async def test_a_second_migration_changes_nothing(empty_database: str, settings: Settings) -> None:
    assert_all_steps(await migrate(empty_database, settings=settings))
    assert await migrate(empty_database, settings=settings) == []
    await assert_usable(empty_database, settings)


async def test_a_half_migrated_database_is_finished(database: str, settings: Settings) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM checkpoint_migrations WHERE v > 3")
    done = await migrate(database, settings=settings)
    assert [line.partition(":")[0] for line in done] == [f"version {number}" for number in range(4, KNOWN_SCHEMA + 1)]
    await assert_usable(database, settings)


# --- Killed ----------------------------------------------------------------------------------------------------------

# Each line of its input is one life of a migrating process, which is forked from this one, where all is imported. It
# dies at the first statement at which none has died before; each life says where, or what it did.
LIVES = """
import asyncio, json, os, signal, sys
import psycopg
from acme_agent.errors import ProjectError
from acme_agent.persistence import migrate, postgres_migrate
from acme_agent.settings import Settings

postgres_migrate.LOCK_TIMEOUT = 0.5
execute = psycopg.AsyncCursor.execute

def say(**facts):
    print(json.dumps(facts), flush=True)

def doom(url, how, died):
    async def dying(cursor, query, params=None, **options):
        point = f"{query} {params}"
        # Who blocks it is asked only if somebody does, as autovacuum may, and is no step of the migration.
        if point not in died and "blocking.pid" not in point:
            say(died=point)
            if how == "inside":
                asyncio.ensure_future(execute(cursor, query, params, **options))
                await asyncio.sleep(0)  # now it is sent
            if how != "terminated":
                os.kill(os.getpid(), signal.SIGKILL)
            with psycopg.connect(url, autocommit=True) as other:
                pid = cursor.connection.info.backend_pid
                assert other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)
        return await execute(cursor, query, params, **options)
    psycopg.AsyncCursor.execute = dying

for line in sys.stdin:
    url, how, died = json.loads(line)
    child = os.fork()
    if child:
        say(pid=child)
        say(status=os.waitpid(child, 0)[1])
        continue
    if how != "undisturbed":
        doom(url, how, died)
    try:
        say(done=asyncio.run(migrate(url, settings=Settings(_env_file=None))))
    except ProjectError as error:
        say(error=str(error))
    os._exit(0)
"""


class Lives:
    """The lives of migrating processes, one after the other."""

    def __init__(self, leader: "subprocess.Popen[str]") -> None:
        self._leader = leader

    def begin(self, url: str, how: str, died: list[str]) -> int:
        assert self._leader.stdin
        self._leader.stdin.write(json.dumps([url, how, died]) + "\n")
        self._leader.stdin.flush()
        return int(self._next("pid")["pid"])

    def end(self) -> dict[str, Any]:
        return self._next("status")

    def _next(self, last: str) -> dict[str, Any]:
        assert self._leader.stdout
        facts: dict[str, Any] = {}
        while last not in facts:
            facts |= json.loads(self._leader.stdout.readline())
        self.facts = facts
        return facts


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with subprocess.Popen(
        [sys.executable, "-c", LIVES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as leader:
        yield Lives(leader)
        leader.communicate()


@pytest.mark.parametrize("how", ["before", "inside", "terminated"])
async def test_a_migration_that_dies_at_any_statement_is_run_again(
    how: str, lives: Lives, empty_database: str, settings: Settings
) -> None:
    died: list[str] = []
    facts: dict[str, Any] = {}
    while "done" not in facts:
        lives.begin(empty_database, how, died)
        facts = lives.end()
        died += [facts["died"]] if "died" in facts else []
        if "died" in facts:
            assert ("error" in facts) if how == "terminated" else (facts["status"] == signal.SIGKILL), facts
        else:
            assert "done" in facts, facts
    places = [point.split() for point in died]
    for number, migration in enumerate(AsyncPostgresSaver.MIGRATIONS):
        assert [*migration.split(), "None"] in places
        assert any(
            place[:3] == ["INSERT", "INTO", "checkpoint_migrations"] and f"({number},)" in place for place in places
        )
    assert_right(empty_database)
    assert await migrate(empty_database, settings=settings) == []
    await assert_usable(empty_database, settings)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_migration_that_dies_while_it_builds_an_index_is_repaired(
    who: str, lives: Lives, empty_database: str, settings: Settings
) -> None:
    statements: list[str] = []
    with psycopg.connect(empty_database, autocommit=True) as watch, psycopg.connect(empty_database) as report:
        report.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        report.execute("SELECT 1")  # CREATE INDEX CONCURRENTLY waits for this snapshot, inside
        while len(statements) < 5:
            child = lives.begin(empty_database, "undisturbed", [])
            deadline = time.monotonic() + PATIENCE
            while not (waiting := watch.execute(MIGRATOR_WAITS).fetchall()):
                assert time.monotonic() < deadline
            (pid, query), *_ = waiting
            if who == "client":
                os.kill(child, signal.SIGKILL)
            else:
                watch.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            assert "done" not in lives.end()
            while watch.execute("SELECT pid FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall():
                assert time.monotonic() < deadline  # the lock_timeout ends a server process without its client
            statements.append(" ".join(query.split()[:3]))
        assert statements == ["CREATE INDEX CONCURRENTLY"] * 3 + ["REINDEX INDEX CONCURRENTLY"] * 2
        assert len(watch.execute(INVALID_INDEXES).fetchall()) == 4  # with the copy that the last one was building
    done = await migrate(empty_database, settings=settings)
    tables = ("checkpoint_blobs", "checkpoint_writes", "checkpoints")
    assert done == [
        "dropped the leftover index checkpoint_blobs_thread_id_idx_ccnew",
        *(f"rebuilt the invalid index {table}_thread_id_idx" for table in tables),
    ]
    assert_right(empty_database)
    assert await migrate(empty_database, settings=settings) == []
    await assert_usable(empty_database, settings)


# --- Blocked ---------------------------------------------------------------------------------------------------------


async def test_a_migration_that_never_ends_elsewhere_is_not_waited_for_for_ever(
    empty_database: str, settings: Settings
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        started = time.monotonic()
        with pytest.raises(MigrationBusy, match="acme-agent migrate"):
            await asyncio.wait_for(migrate(empty_database, settings=settings, wait=0.5), timeout=10)
        assert 0.5 <= time.monotonic() - started < 5
    assert_all_steps(await migrate(empty_database, settings=settings))  # the lock ended with its connection


@pytest.mark.parametrize(
    ("undone", "blocking"),
    [
        pytest.param(
            "ALTER TABLE checkpoint_writes DROP COLUMN task_path; DELETE FROM checkpoint_migrations WHERE v > 8",
            "SELECT count(*) FROM checkpoint_writes",
            id="a lock on the table",
        ),
        pytest.param(
            "DROP INDEX checkpoints_thread_id_idx; DELETE FROM checkpoint_migrations WHERE v > 5",
            "SELECT count(*) FROM pg_class",
            id="an old snapshot",
        ),
    ],
)
async def test_who_blocks_a_migration_is_named(
    undone: str, blocking: str, database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_migrate, "LOCK_TIMEOUT", 0.5)
    with psycopg.connect(database) as connection:
        connection.execute(undone.encode())
    with psycopg.connect(database, application_name="nightly-dump") as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute(blocking.encode())
        pid = other.info.backend_pid
        expected = rf"waited 0\.5 s for process {pid} \(nightly-dump, idle in transaction for \d s\).*terminate.*{pid}"
        with pytest.raises(MigrationBlocked, match=expected):
            await asyncio.wait_for(migrate(database, settings=settings), timeout=PATIENCE)
    assert await migrate(database, settings=settings) != []
    assert_right(database)
