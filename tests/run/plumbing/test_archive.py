"""Threads as files: what was deleted comes back exactly, and what is not whole does not come back at all."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import (
    ArchiveDamaged,
    ArchiveUnknown,
    Retention,
    Rows,
    ThreadExists,
    open_checkpointer,
    open_retention,
    postgres_retention,
    postgres_retention_sql,
)
from acme_agent.persistence.archive import archive_name, check_archive
from acme_agent.settings import Settings

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
ODD = "../a b/ö:%\n"  # a thread id of a foreign database


@pytest.fixture
async def retention(database: str, settings: Settings) -> AsyncIterator[Retention]:
    """The retention of the test's own database."""
    async with open_checkpointer(database, settings=settings) as saver:
        yield open_retention(database, saver)


def rows_of(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return every row of every table as the server prints it."""
    return {
        table: [row for (row,) in connection.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
        for table in TABLES
    }


def fill(connection: psycopg.Connection[Any], thread: str, *, head: str = "1f0") -> None:
    """Store a thread whose rows have everything that is easy to lose."""
    connection.execute(
        "INSERT INTO checkpoints VALUES (%s, '', %s, NULL, NULL, "
        """'{"v": 4, "n": 1.10, "big": 12345678901234567890.000000000000000001, "t": "é\\u2028"}', """
        """'{"a": [null, true], "t": "\\\\u0000"}'), """
        "(%s, 'sub:1', '1f1', '1f0', 'x', '{}', '{}')",
        (thread, head, thread),
    )
    connection.execute(
        "INSERT INTO checkpoint_blobs VALUES (%s, '', 'a', '1', 'empty', NULL), (%s, '', 'b', '1', 'bytes', %s)",
        (thread, thread, bytes(range(256))),
    )
    connection.execute(
        "INSERT INTO checkpoint_writes VALUES (%s, 'sub:1', '1f1', 'task', -3, 'c', NULL, %s, '~__pregel_pull')",
        (thread, b""),
    )


@pytest.mark.parametrize("thread", ["t", ODD])
async def test_archived_thread_comes_back_exactly(
    retention: Retention, connection: psycopg.Connection[Any], tmp_path: Path, thread: str
) -> None:
    fill(connection, thread)
    before = rows_of(connection)
    file, rows = await retention.archive(thread, "1f0", tmp_path / "deep" / "archive")
    assert rows == Rows(2, 2, 1)
    assert file.parent == tmp_path / "deep" / "archive"
    assert list(file.parent.iterdir()) == [file]
    assert rows_of(connection) == before
    with pytest.raises(ThreadExists, match="already there"):
        await retention.restore(file)
    assert await retention.delete(thread, "1f0", rows) == rows
    assert rows_of(connection) == {table: [] for table in TABLES}
    assert await retention.restore(file) == (thread, rows)
    assert rows_of(connection) == before


@pytest.mark.parametrize(
    "case",
    [
        (lambda lines: lines[:-1], ArchiveDamaged, "its end is missing"),
        (lambda lines: [*lines[:-1], lines[-1][:9]], ArchiveDamaged, "is no JSON"),
        (lambda lines: [*lines[:2], *lines[3:]], ArchiveDamaged, "not those that were written"),
        (lambda lines: [*lines[:1], lines[1].replace("1f", "2f"), *lines[2:]], ArchiveDamaged, "not those"),
        (lambda lines: [*lines, lines[-1]], ArchiveDamaged, "after its end"),
        (lambda lines: [lines[0].replace('"version": 1', '"version": 2'), *lines[1:]], ArchiveUnknown, "format 2"),
        (lambda lines: lines[1:], ArchiveDamaged, "does not begin"),
        (lambda _: ["hello"], ArchiveDamaged, "line 1 is no JSON"),
        (lambda _: ["[]"], ArchiveDamaged, "line 1 is no object"),
        (lambda _: [], ArchiveDamaged, "line 1 is no JSON"),
    ],
)
async def test_damaged_archive_restores_nothing(
    retention: Retention,
    connection: psycopg.Connection[Any],
    tmp_path: Path,
    case: tuple[Any, type[Exception], str],  # Any: a function on the lines
) -> None:
    harm, error, reason = case
    fill(connection, "t")
    file, _ = await retention.archive("t", "1f0", tmp_path)
    await retention.delete("t", "1f0")
    await asyncio.to_thread(file.write_text, "\n".join(harm(file.read_text("utf-8").split("\n")[:-1])), "utf-8")
    with pytest.raises(error, match=reason):
        await retention.restore(file)
    assert rows_of(connection) == {table: [] for table in TABLES}


async def test_archive_of_a_later_schema_is_refused(
    retention: Retention,
    connection: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(connection, "t")
    with monkeypatch.context() as later:
        later.setattr(postgres_retention, "KNOWN_SCHEMA", 1000)
        file, _ = await retention.archive("t", "1f0", tmp_path)
    await retention.delete("t", "1f0")
    with pytest.raises(ArchiveUnknown, match="schema 1000"):
        await retention.restore(file)


def test_archive_has_every_column(connection: psycopg.Connection[Any]) -> None:
    """A column that LangGraph adds would be lost in silence."""
    for table, query in postgres_retention_sql.ARCHIVED.items():
        archived = connection.execute(query, {"thread": "t"}).description or []
        stored = connection.execute(f"SELECT * FROM {table}").description or []
        assert {column.name for column in archived} == {column.name for column in stored}


def test_file_names_are_safe_and_tell_threads_apart() -> None:
    threads = ["a", "A", ".", "..", ".x", "a/b", "a%2Fb", "ö", "x" * 200, "x" * 201, "ask-1:2.3_4-00000000", ODD, "a\0"]
    names = [archive_name(thread, "1f0-1") for thread in threads]
    assert len(set(names)) == len(threads)
    for name in names:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name) < 255
    assert archive_name("t", "1f0") != archive_name("t", "1f1")  # its second life does not overwrite its first


async def test_large_thread_is_archived_and_restored_in_little_memory(
    retention: Retention, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    fill(connection, "t")
    connection.execute("""
        INSERT INTO checkpoint_blobs
        SELECT 't', '', 'large', n::text, 'bytes', convert_to(repeat(md5(n::text), 16384), 'UTF8')
        FROM generate_series(1, 60) AS n
    """)  # 30 MB
    tracemalloc.start()
    try:
        file, rows = await retention.archive("t", "1f0", tmp_path)
        await retention.delete("t", "1f0", rows)
        await retention.restore(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.blobs == 62
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ("INSERT INTO checkpoints VALUES ('t', '', '1f9', '1f0', NULL, '{}', '{}')", False),
        ("INSERT INTO checkpoint_writes VALUES ('t', '', '1f0', 'task', 0, 'c', NULL, '')", False),
        ("INSERT INTO checkpoint_writes VALUES ('t', 'sub:1', '1f1', 'task', 9, 'c', NULL, '')", True),
    ],
    ids=["a new head", "pending writes", "rows that are not in the archive"],
)
async def test_thread_that_changed_since_the_decision_is_left(
    retention: Retention, connection: psycopg.Connection[Any], change: str, *, counted: bool
) -> None:
    fill(connection, "t")
    rows = await retention.count("t")
    connection.execute(change.encode())
    before = rows_of(connection)
    assert await retention.delete("t", "1f0", rows if counted else None) is None
    assert rows_of(connection) == before


async def test_restoring_does_not_mix_two_lives_of_a_thread(
    retention: Retention, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    fill(connection, "t")
    file, _ = await retention.archive("t", "1f0", tmp_path)
    await retention.delete("t", "1f0")
    connection.execute("INSERT INTO checkpoints VALUES ('t', '', '2f0', NULL, NULL, '{}', '{}')")
    with pytest.raises(ThreadExists):
        await retention.restore(file)
    assert [len(rows) for rows in rows_of(connection).values()] == [1, 0, 0]


async def test_what_a_run_commits_during_the_deletion_undoes_it(
    retention: Retention, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, "t")
    count = postgres_retention._rows

    async def slow(*arguments: Any) -> Rows:
        rows = await count(*arguments)
        connection.execute("INSERT INTO checkpoints VALUES ('t', '', '1f9', '1f0', NULL, '{}', '{}')")
        return rows

    monkeypatch.setattr(postgres_retention, "_rows", slow)
    assert await retention.delete("t", "1f0") is None
    assert [len(rows) for rows in rows_of(connection).values()] == [3, 2, 1]


async def test_locked_thread_is_left(retention: Retention, connection: psycopg.Connection[Any]) -> None:
    fill(connection, "t")
    with connection.transaction():
        connection.execute("SELECT 1 FROM checkpoints FOR UPDATE")
        assert await retention.delete("t", "1f0") is None
    assert await retention.delete("t", "1f0") == Rows(2, 2, 1)


def test_purge_that_is_killed_goes_on(database: str, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """Whenever it dies, each thread is whole in the database or in the archive, and the next purge does the rest."""
    environment = os.environ | {"DATABASE_URL": database, "DOCS": str(EXAMPLES), "AUDIT_WINDOW_DAYS": "0.000001"}
    start = [sys.executable, "-c", "from acme_agent.cli import main; main()"]
    ask = [*start, "run", "How many books may a member borrow?", "--thread-id", "t"]
    purging = [*start, "purge", "--json", "--archive", "archive"]
    subprocess.run(ask, cwd=tmp_path, env=environment, check=True, capture_output=True)
    copies = 30
    for table in TABLES:
        connection.execute(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('thread_id', 'copy-' || n))).* "
            f"FROM {table} AS t, generate_series(1, %s) AS n",
            (copies,),
        )
    whole = {len(rows) // (copies + 1) for rows in rows_of(connection).values()}
    archive = tmp_path / "archive"
    killed = 0
    for stop_after in (1, 9):
        with subprocess.Popen(
            purging,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
        ) as purge:
            assert purge.stdout
            for number, _ in enumerate(purge.stdout):
                if number == stop_after:
                    purge.kill()
        killed += purge.returncode == -signal.SIGKILL
        left = connection.execute(
            "SELECT thread_id, count(*) FROM checkpoints GROUP BY 1 UNION ALL "
            "SELECT thread_id, count(*) FROM checkpoint_blobs GROUP BY 1 UNION ALL "
            "SELECT thread_id, count(*) FROM checkpoint_writes GROUP BY 1"
        ).fetchall()
        assert {count for _, count in left} <= whole
        archived = {check_archive(file).thread_id for file in archive.glob("*.jsonl")}
        assert archived | {thread for thread, _ in left} == {"t", *(f"copy-{n}" for n in range(1, copies + 1))}
    assert killed == 2
    done = subprocess.run(
        purging,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1])["actions"].keys() == {"deleted"}
    assert rows_of(connection) == {table: [] for table in TABLES}
    assert len(list(archive.glob("*.jsonl"))) == copies + 1
