"""Forgetting in a SQLite file, where it is not as on a server: files of threads, one writer, huge histories."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from acme_agent.persistence import (
    ArchiveUnknown,
    DatabaseUnreachable,
    Retention,
    Rows,
    ThreadExists,
    open_checkpointer,
    open_retention,
    sqlite_retention,
    sqlite_retention_sql,
)
from acme_agent.settings import Settings

ODD = "../a b/ö:%\n"  # a thread id of a foreign database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file."""
    return tmp_path / "threads.db"


@pytest.fixture
async def retention(path: Path, settings: Settings) -> AsyncIterator[Retention]:
    """The retention of the file."""
    async with open_checkpointer(f"sqlite:///{path}", settings=settings) as saver:
        yield open_retention(f"sqlite:///{path}", saver)


@pytest.fixture
def connection(path: Path, retention: Retention) -> Iterator[sqlite3.Connection]:
    """Another connection to the file, whose tables are made."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def rows_of(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return every row of every table."""
    return {
        table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) for table in ("checkpoints", "writes")
    }


def fill(connection: sqlite3.Connection, thread: str) -> None:
    """Store a thread whose rows have everything that is easy to lose."""
    connection.execute(
        "INSERT INTO checkpoints VALUES (?, '', '1f0', NULL, NULL, ?, NULL), (?, 'sub:1', '1f1', '1f0', 'x', ?, ?)",
        (thread, bytes(range(256)), thread, b"", '{"t": "é\u2028", "a": [null]}'.encode()),
    )
    connection.execute(
        "INSERT INTO writes VALUES (?, 'sub:1', '1f1', 'task', '~__pregel_pull', -3, 'c', NULL, NULL)", (thread,)
    )


@pytest.mark.parametrize("thread", ["t", ODD])
async def test_archived_thread_comes_back_exactly(
    retention: Retention, connection: sqlite3.Connection, tmp_path: Path, thread: str
) -> None:
    fill(connection, thread)
    before = rows_of(connection)
    file, rows = await retention.archive(thread, "1f0", tmp_path / "deep" / "archive")
    assert rows == Rows(checkpoints=2, writes=1)
    assert rows_of(connection) == before
    with pytest.raises(ThreadExists, match="already there"):
        await retention.restore(file)
    assert await retention.present([thread, "other"]) == [thread]
    assert await retention.delete(thread, "1f0", rows) == rows
    assert rows_of(connection) == {"checkpoints": [], "writes": []}
    assert await retention.restore(file) == (thread, rows)
    assert rows_of(connection) == before


async def test_file_of_another_backend_is_refused_by_both(
    retention: Retention, connection: sqlite3.Connection, tmp_path: Path, database: str, settings: Settings
) -> None:
    fill(connection, "t")
    file, _ = await retention.archive("t", "1f0", tmp_path / "here")
    async with open_checkpointer(database, settings=settings) as saver:
        server = open_retention(database, saver)
        with pytest.raises(ArchiveUnknown, match="rows of another backend, in checkpoints, writes"):
            await server.restore(file)
        foreign, _ = await server.archive("u", "1f0", tmp_path / "there")
    with pytest.raises(ArchiveUnknown, match="rows of another backend"):
        await retention.restore(foreign)


async def test_archive_of_a_later_schema_is_refused(
    retention: Retention, connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, "t")
    with monkeypatch.context() as later:
        later.setattr(sqlite_retention, "SCHEMA", 1000)
        file, _ = await retention.archive("t", "1f0", tmp_path)
    await retention.delete("t", "1f0")
    with pytest.raises(ArchiveUnknown, match="schema 1000"):
        await retention.restore(file)


async def test_archive_has_every_column(connection: sqlite3.Connection) -> None:
    """A column that LangGraph adds would be lost in silence."""
    for table, query in sqlite_retention_sql.ARCHIVED.items():
        archived = connection.execute(query, {"thread": "t"}).description
        stored = connection.execute(f"SELECT * FROM {table}").description
        assert {column[0] for column in archived} == {column[0] for column in stored}


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ("INSERT INTO checkpoints VALUES ('t', '', '1f9', '1f0', NULL, x'', NULL)", False),
        ("INSERT INTO writes VALUES ('t', '', '1f0', 'task', '', 0, 'c', NULL, x'')", False),
        ("INSERT INTO writes VALUES ('t', 'sub:1', '1f1', 'task', '', 9, 'c', NULL, x'')", True),
    ],
    ids=["a new head", "pending writes", "rows that are not in the archive"],
)
async def test_thread_that_changed_since_the_decision_is_left(
    retention: Retention, connection: sqlite3.Connection, change: str, *, counted: bool
) -> None:
    fill(connection, "t")
    rows = await retention.count("t")
    connection.execute(change)
    before = rows_of(connection)
    assert await retention.delete("t", "1f0", rows if counted else None) is None
    assert rows_of(connection) == before


async def test_file_that_somebody_writes_is_waited_for_and_then_named(path: Path, settings: Settings) -> None:
    url = f"sqlite:///{path}"
    hasty = settings.model_copy(update={"database_timeout": 0.2})
    async with open_checkpointer(url, settings=hasty) as saver:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            fill(connection, "t")
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnreachable, match="locked"):
                await open_retention(url, saver).delete("t", "1f0")
            connection.execute("ROLLBACK")
        assert await open_retention(url, saver).delete("t", "1f0") == Rows(checkpoints=2, writes=1)


async def test_huge_history_is_shortened_in_linear_time(retention: Retention, connection: sqlite3.Connection) -> None:
    """Thirty thousand checkpoints take a second; one look through all of them for each would take minutes."""
    connection.executescript("""
        BEGIN;
        CREATE TEMP TABLE numbers AS
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30000) SELECT n FROM n;
        INSERT INTO checkpoints
            SELECT 't', '', printf('%09d', n), printf('%09d', n - 1), NULL, x'', CAST('{"parents": {}}' AS BLOB)
            FROM numbers;
        INSERT INTO writes SELECT 't', '', printf('%09d', n), 'task', '', 0, 'x', NULL, x'' FROM numbers;
        COMMIT;
    """)
    gone = await retention.trim("t", 10)
    assert gone == Rows(checkpoints=29_990, writes=29_990)
    assert connection.execute("SELECT min(checkpoint_id), parent_checkpoint_id FROM checkpoints").fetchone() == (
        "000029991",
        None,
    )
