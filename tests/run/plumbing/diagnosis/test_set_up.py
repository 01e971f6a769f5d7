"""`doctor --schema` names who is in the way of a set-up that hangs, before real migrations that do."""

from __future__ import annotations  # Shell has a name for mypy only

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    import subprocess

    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there
    from plumbing.diagnosis.conftest import Doctor

PATIENCE = 30.0  # seconds
# As long as the diagnosis wants a wait to be.
WAITERS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart < clock_timestamp() - interval '1.1 s'"

STOCK = """
import sys
from langgraph.checkpoint.postgres import PostgresSaver
with PostgresSaver.from_conn_string(sys.argv[1]) as saver:
    saver.setup()
"""

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def empty(shell: Shell, monkeypatch: pytest.MonkeyPatch, empty_database: str) -> str:
    """The URL of a database without tables, which is the environment's."""
    monkeypatch.setenv("DATABASE_URL", empty_database)
    return empty_database


def until(url: str, query: str, waits: bool = True) -> None:
    """Return once the query counts something."""
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute(query).fetchone()
            if row and bool(row[0]) == waits:
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks


def test_a_snapshot_is_in_the_way(empty: str, doctor: Doctor, command: Command, shell: Shell) -> None:
    """LangGraph's own set-up waits for ever: CREATE INDEX CONCURRENTLY, for every older snapshot, such as a dump's."""
    with psycopg.connect(empty, application_name="nightly dump") as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM pg_class")
        process = command(empty, code=STOCK)
        until(empty, WAITERS)
        found = doctor("--schema")
        (blocked,) = found["blocked"]
        blocker = session.info.backend_pid
        assert "CREATE INDEX CONCURRENTLY" in blocked["text"]
        assert f"It waits for process {blocker} (nightly dump" in blocked["text"]
        assert f"SELECT pg_terminate_backend({blocker});" in blocked["text"]
        assert any(f"for process {blocker} (nightly dump" in finding["text"] for finding in doctor()["locks"])
        session.rollback()
        assert process.wait(PATIENCE) == 0
    found = doctor("--schema")
    assert "blocked" not in found
    assert "acme-agent migrate" in found["database"][0]["text"]  # it has no ledger
    assert shell("migrate") == 0
    assert "are up to date" in doctor("--schema")["schema"][0]["text"]


def test_a_frozen_migration_is_in_the_way(empty: str, doctor: Doctor, command: Command) -> None:
    with psycopg.connect(empty) as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM pg_class")
        frozen = command("migrate")
        until(empty, WAITERS)
        os.kill(frozen.pid, signal.SIGSTOP)
    until(empty, WAITERS, waits=False)  # what it waited for has come, and it does not see it
    found = doctor("--schema")
    (holder,) = found["migration"]
    assert "If it hangs or is frozen, end it: SELECT pg_terminate_backend(" in holder["text"]
    pid = int(holder["text"].rpartition("pg_terminate_backend(")[2].partition(")")[0])
    with psycopg.connect(empty, autocommit=True) as connection:
        row = connection.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone()
        assert row
        assert row[0]
    assert command("migrate").wait(PATIENCE) == 0


def test_an_open_transaction_would_be_in_the_way(
    server: Shell, doctor: Doctor, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, application_name="a forgotten psql") as session:
        session.execute("UPDATE agent_runs SET error = ''")
        assert "open transaction" not in doctor("--schema")  # it is young
        monkeypatch.setattr("acme_agent.diagnosis.schema.OLD", 0.0)
        (finding,) = doctor("--schema")["open transaction"]
        assert (
            f"process {session.info.backend_pid} (a forgotten psql from 127.0.0.1, idle in transaction"
            in finding["text"]
        )
        assert "it has locked agent_runs" in finding["text"]
        session.rollback()
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM pg_class")
        (finding,) = doctor("--schema")["open transaction"]
        assert "it holds a snapshot" in finding["text"]
    assert doctor.code == 0  # a warning


def test_an_invalid_index_was_left(server: Shell, doctor: Doctor, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'checkpoint_writes_thread_id_idx'::regclass"
    )
    (finding,) = doctor("--schema")["invalid index"]
    assert finding["text"].startswith("public.checkpoint_writes_thread_id_idx: ")
    assert server("migrate") == 0
    assert "invalid index" not in doctor("--schema")


def test_a_role_that_sees_little_says_so(
    server: Shell, doctor: Doctor, database: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Still it finds who waits for whom."""
    name = database.rpartition("/")[2]
    role = f"app_{name}"
    connection.execute(f"CREATE ROLE {role} LOGIN")
    connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    monkeypatch.setenv("DATABASE_URL", database.replace("postgres@", f"{role}@"))
    try:
        assert "rights" in doctor("--schema")
        assert doctor.code == 0
        with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as waiting:
            holder.execute("LOCK TABLE agent_audit IN EXCLUSIVE MODE")
            waiting.execute("SET lock_timeout = '20s'")
            with ThreadPoolExecutor() as pool:
                pool.submit(waiting.execute, "SELECT 1 FROM agent_audit FOR UPDATE")
                until(database, WAITERS)
                found = doctor("--schema")
                holder.rollback()
            (finding,) = found["blocked"]
            assert f"It waits for process {holder.info.backend_pid}" in finding["text"]
    finally:
        monkeypatch.setenv("DATABASE_URL", database)
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


def test_a_file_has_nothing_to_hang(shell: Shell, doctor: Doctor) -> None:
    found = doctor("--schema")
    assert doctor.code == 0
    assert "nothing can hang" in found["schema"][0]["text"]
